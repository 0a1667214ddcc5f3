#include <fmt/format.h>

#include <chrono>
#include <cstdlib>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/file.h"
#include "layers/build/engine.h"
#include "layers/recipe/diagnostics.h"
#include "layers/recipe/parse.h"
#include "layers/recipe/supported.h"
#include "registry/image_store.h"

namespace surcoat::cmd {
namespace {

struct Args {
    std::string context = ".";
    std::vector<std::string> tags;
    std::optional<std::string> recipe;
    std::vector<std::string> build_args;
    std::vector<std::string> labels;
    std::string target;
    std::string network = "default";
    std::string on_error = "keep";
    std::optional<std::string> image_id_file;
    bool no_cache = false;
    bool quiet = false;
};

/// One line for a step when it ends, its output in between; the same on a terminal and in a log.
class Report final : public build::BuildObserver {
  public:
    explicit Report(bool quiet) : quiet_(quiet) {}
    void started(const build::StepReport& step) override {
        if (quiet_) return;
        heading_ = fmt::format("[{}/{}]{} {}", step.number, step.total, step.stage.empty() ? "" : " " + step.stage, printable(step.text));
        announced_ = false;
    }
    void output(std::string_view text) override {
        if (quiet_) {
            // Kept for the case that the step fails; the end says most.
            unseen_ += text;
            if (unseen_.size() > 2 * kKept) unseen_.erase(0, unseen_.size() - kKept);
            return;
        }
        announce();
        ::fwrite(text.data(), 1, text.size(), stderr);
        at_line_start_ = text.empty() || text.back() == '\n';
    }
    void finished(const build::StepReport& step) override {
        unseen_.clear();
        if (quiet_) return;
        if (!at_line_start_) say("");
        at_line_start_ = true;
        const std::string tail = step.cached ? "cached" : fmt::format("{}{}", human_duration(step.duration), step.layer_bytes != 0 ? "  " + human_bytes(step.layer_bytes) : "");
        if (announced_) {
            say(fmt::format("    done  {}", tail));
        } else {
            say(fmt::format("{}  {}", heading_, tail));
        }
    }
    void warning(const std::string& text) override { say("warning: " + text); }

    /// What the failed step printed, when nothing was shown.
    void show_unseen() { ::fwrite(unseen_.data(), 1, unseen_.size(), stderr); }

  private:
    static constexpr std::size_t kKept = 64 << 10;
    void announce() {
        if (!announced_) say(heading_);
        announced_ = true;
    }
    const bool quiet_;
    std::string heading_;
    std::string unseen_;
    bool announced_ = false;
    bool at_line_start_ = true;
};

std::map<std::string, std::string> pairs(const std::vector<std::string>& items, const char* option, bool from_environment) {
    std::map<std::string, std::string> result;
    for (const std::string& item : items) {
        const std::size_t equals = item.find('=');
        if (equals == 0) throw Error(Errc::invalid, fmt::format("build: {} '{}' has no name before the '='", option, item));
        if (equals != std::string::npos) {
            result[item.substr(0, equals)] = item.substr(equals + 1);
        } else if (!from_environment) {
            result[item] = "";
        } else if (const char* value = std::getenv(item.c_str())) {
            result[item] = value;  // docker: a name alone takes the caller's value, and is nothing without one
        }
    }
    return result;
}

std::optional<std::int64_t> source_date(const std::map<std::string, std::string>& build_args) {
    const auto given = build_args.find("SOURCE_DATE_EPOCH");
    const char* text = given != build_args.end() ? given->second.c_str() : std::getenv("SOURCE_DATE_EPOCH");
    if (text == nullptr || *text == '\0') return std::nullopt;
    char* end = nullptr;
    const long long value = std::strtoll(text, &end, 10);
    if (*end != '\0' || value < 0) throw Error(Errc::invalid, fmt::format("SOURCE_DATE_EPOCH is '{}', but must be seconds after 1970", text));
    return value;
}

int run(Program& program, const Args& args) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::string> names;
    std::vector<std::string> familiar;
    for (const std::string& tag : args.tags) {
        const auto reference = registry::Reference::parse(tag).with_default_tag();
        names.push_back(reference.full());
        familiar.push_back(reference.familiar());
    }
    build::BuildContext context(args.context, args.recipe);
    const recipe::Recipe recipe = recipe::parse(context.recipe_text(), context.recipe_name());
    for (const auto& warning : recipe.warnings) say(recipe::render(recipe.source, warning));

    build::BuildOptions options;
    options.target = args.target;
    options.build_args = pairs(args.build_args, "--build-arg", true);
    options.labels = pairs(args.labels, "--label", false);
    options.no_cache = args.no_cache;
    options.network = args.network != "none";
    options.keep_failed = args.on_error == "keep";
    options.source_date = source_date(options.build_args);

    Store& store = program.store();
    Lease lease(store, "build " + (familiar.empty() ? args.context : familiar.front()));
    Report report(args.quiet);
    build::Engine engine(store, program.images(), program.workspaces(), report);
    const build::BuildResult result = doing(fmt::format("cannot build {}", familiar.empty() ? "'" + args.context + "'" : "'" + familiar.front() + "'"),
                                            [&] {
                                                try {
                                                    return engine.build(recipe, context, options, lease);
                                                } catch (...) {
                                                    report.show_unseen();
                                                    throw;
                                                }
                                            });

    Transaction transaction(store, "build");
    const auto staged = program.images().stage(transaction, result.image);
    transaction.commit([&](Catalogue::Write& write) { registry::ImageStore::publish(write, staged, names); });
    program.images().write_layout_index();
    if (args.image_id_file) write_file_durably(*args.image_id_file, staged.id.str());
    if (args.quiet) {
        print(staged.id.str() + "\n");
        return 0;
    }
    std::uint64_t size = 0;
    for (const DiffId& layer : result.image.layers) size += store.catalogue().layer(layer)->content_bytes;
    say(fmt::format("{}  {}  in {}  ({} cached, {} new)   size {}, new layers {}", familiar.empty() ? staged.id.short_hex() : familiar.front(),
                    staged.id.str(), human_duration(std::chrono::steady_clock::now() - begin), result.cached_steps,
                    result.steps - result.cached_steps, human_bytes(size), human_bytes(result.new_layer_bytes)));
    return 0;
}

}  // namespace

Verb build_verb() {
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "build";
    verb.group = "Build";
    verb.synopsis = "build [OPTIONS] [DIRECTORY]";
    verb.summary = "build an image from a recipe (Surcoatfile, Containerfile or Dockerfile)";
    verb.examples = {{"surcoat build -t shop:1 examples/shop", "the recipe and its context lie in examples/shop"},
                     {"surcoat build -t app --build-arg VERSION=2 --target test .", "with an ARG's value, up to one stage"}};
    verb.declare = [args](Options& options) {
        options.argument("DIRECTORY", args->context, "the build context: what COPY can reach (default: here)", false);
        options.list("-t,--tag", args->tags, "the image's name; may be repeated", "NAME");
        options.value("-f,--file", args->recipe, "the recipe, or - for standard input", "FILE");
        options.list("--build-arg", args->build_args, "the value of an ARG; NAME alone takes it from the environment", "NAME=VALUE");
        options.list("--label", args->labels, "a label for the image", "NAME=VALUE");
        options.value("--target", args->target, "build up to this stage", "STAGE");
        options.flag("--no-cache", args->no_cache, "run every step");
        options.choice("--network", args->network, {"default", "host", "none"}, "network of RUN steps");
        options.choice("--on-error", args->on_error, {"keep", "discard"}, "the root of a step that failed");
        options.value("--iidfile", args->image_id_file, "write the image's ID to a file", "FILE");
        options.flag("-q,--quiet", args->quiet, "print only the image's ID");
    };
    verb.run = [args](Program& program) { return run(program, *args); };
    verb.needs_mounts = true;
    return verb;
}

}  // namespace surcoat::cmd
