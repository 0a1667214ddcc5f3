#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "layers/build/accounts.h"
#include "layers/build/engine.h"
#include "layers/build/ledger.h"
#include "layers/build/stage_graph.h"
#include "layers/recipe/expand.h"

namespace surcoat::build {

/// What the stages of one build share.
struct BuildShared {
    Store& store;
    Workspaces& workspaces;
    BuildObserver& observer;
    Ledger& ledger;
    const recipe::Recipe& recipe;
    const BuildOptions& options;
    const std::map<std::string, std::string>& global_args;
    BuildContext& context;
    /// The root that COPY --from names: a finished stage or an image.
    std::function<SourceTree(const std::string& from)> source;
    BuildResult& result;
    std::set<std::string> consumed_args;
    std::size_t step = 0;
    std::size_t total = 0;
};

/// Proxy settings reach RUN without an ARG and count neither for the cache nor for the history.
bool is_proxy_variable(const std::string& name);

/// Builds one stage: holds the image as it grows and carries out one instruction after the other.
class StageBuilder {
  public:
    StageBuilder(BuildShared& shared, const recipe::Stage& stage, Image base);

    /// Carries out all steps. Errors name the place in the recipe.
    void run();
    const Image& image() const { return image_; }
    /// For a stage that stands on another one: the arguments that it had declared.
    void inherit(const StageBuilder& base) {
        args_ = base.args_;
        variables_ = base.variables_;
    }

  private:
    void carry_out(const recipe::Step& step, StepReport& report);
    void run_command(const recipe::Step& step, const recipe::Run& run, StepReport& report);
    /// Makes the root of a step that failed into a container, and says so in the error's hint.
    void keep_root(Workspace& workspace, const Command& failed, Error& error);
    void copy(const recipe::Step& step, const recipe::Copy& copy, StepReport& report);
    void workdir(const recipe::Workdir& workdir, StepReport& report);
    void arg(const recipe::Arg& arg);
    void env(const recipe::Env& env);
    void configure(const recipe::Step& step);

    recipe::Expansion expansion(const recipe::Word& word) const;
    std::string expand(const recipe::Word& word) const { return expansion(word).text; }
    std::vector<std::string> command(const recipe::CommandLine& line) const;
    Accounts accounts();
    /// The merged tree of the image so far.
    Tree& tree();
    /// The step's result: `layer` is new on top.
    void push_layer(const DiffId& layer, std::optional<Tree> after);
    /// Takes the step from the cache if it can.
    bool from_cache(const StepKey& key, StepReport& report);
    void store_layer(const StepKey& key, std::vector<Entry> entries, StepReport& report);
    void add_history(const std::string& created_by, bool empty_layer);

    BuildShared& shared_;
    const recipe::Stage& stage_;
    Image image_;
    std::optional<Tree> tree_;
    std::map<std::string, std::string> args_;  ///< declared and set, for the history
    /// "K=V": what the steps see. The image's environment and the arguments, each where it was set last.
    std::vector<std::string> variables_;
    Timestamp made_at_;
    bool cmd_is_ours_ = false;
};

}  // namespace surcoat::build
