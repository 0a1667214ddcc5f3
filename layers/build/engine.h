#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/build/context.h"
#include "layers/build/ports.h"
#include "layers/recipe/recipe.h"
#include "layers/store/lease.h"

namespace surcoat::build {

struct BuildOptions {
    std::string target;
    std::map<std::string, std::string> build_args;
    std::map<std::string, std::string> labels;
    bool no_cache = false;
    bool network = true;
    bool keep_failed = true;  ///< a failed RUN's root stays as a container
    /// Seconds after 1970 (SOURCE_DATE_EPOCH): no file of a new layer is younger. Default: the base image's
    /// creation, so that the same recipe, context and base give the same digests on every run.
    std::optional<std::int64_t> source_date;
};

/// One step, for whoever watches.
struct StepReport {
    std::size_t number = 0;  ///< from 1, over all stages that are built
    std::size_t total = 0;
    std::string stage;  ///< "" in a recipe of one stage
    std::string text;   ///< the instruction as written, one line
    bool cached = false;
    std::chrono::nanoseconds duration{0};
    std::uint64_t layer_bytes = 0;  ///< content of the layer it made
    std::optional<DiffId> layer;
};

/// What a build tells. Calls come from the thread that builds.
class BuildObserver {
  public:
    virtual ~BuildObserver() = default;
    virtual void started(const StepReport& /*step*/) {}
    virtual void output(std::string_view /*text*/) {}
    virtual void finished(const StepReport& /*step*/) {}
    virtual void warning(const std::string& /*text*/) {}
};

struct BuildResult {
    Image image;
    std::size_t steps = 0;
    std::size_t cached_steps = 0;
    std::uint64_t new_layer_bytes = 0;  ///< content of layers that were made now
};

/// Builds a recipe: resolve every base, plan the stages, then each step of each needed stage: from the cache,
/// else executed. Every finished step is in the store and in the cache before a RUN starts, so that a build
/// that fails or is killed goes on where it was.
class Engine {
  public:
    Engine(Store& store, ImageSource& images, Workspaces& workspaces, BuildObserver& observer)
        : store_(store), images_(images), workspaces_(workspaces), observer_(observer) {}

    /// The image is not named or written anywhere yet; its layers are in the store, held by `lease` until
    /// the caller has published it.
    BuildResult build(const recipe::Recipe& recipe, BuildContext& context, const BuildOptions& options,
                      Lease& lease);

  private:
    Store& store_;
    ImageSource& images_;
    Workspaces& workspaces_;
    BuildObserver& observer_;
};

}  // namespace surcoat::build
