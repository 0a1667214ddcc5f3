#include "layers/build/engine.h"

#include <fmt/format.h>

#include <set>

#include "layers/base/suggest.h"
#include "layers/build/stage_builder.h"
#include "layers/build/stage_graph.h"
#include "layers/recipe/supported.h"

namespace surcoat::build {
namespace {

/// The root of an image or a finished stage, as COPY --from sees it.
SourceTree source_of_layers(Store& store, const std::string& name, const std::vector<DiffId>& layers) {
    SourceTree source;
    source.name = name;
    source.tree = store.tree(layers);
    source.open = [&store](const std::string&, const Inode& inode) {
        return store.open_object(*inode.object);
    };
    source.object = [](const std::string&, const Inode& inode) { return *inode.object; };
    source.keep_owner = true;
    return source;
}

Image empty_image() {
    Image image;
    image.platform = Platform::host();
    return image;
}

}  // namespace

BuildResult Engine::build(const recipe::Recipe& recipe, BuildContext& context, const BuildOptions& options,
                          Lease& lease) {
    recipe::check_supported(recipe);
    const Plan plan = plan_stages(recipe, options.target, options.build_args);

    // Every base and every image that is copied from, before the first step runs: a missing one fails now.
    std::map<std::string, Image> images;
    const auto resolve = [&](const std::string& name, std::size_t stage_index, const recipe::Span& where) {
        if (images.count(name) != 0) return;
        auto image = images_.find(name, Platform::host());
        if (!image) {
            std::vector<std::string> known = images_.known_names();
            for (std::size_t i = 0; i < stage_index; ++i) known.push_back(recipe.stages[i].name);
            for (std::size_t i = stage_index; i < recipe.stages.size(); ++i) {
                if (!is_stage_name(name, recipe.stages[i])) continue;
                throw recipe.source.error(where,
                                          fmt::format("stage '{}' is not finished here: it begins at line "
                                                      "{}, and only stages before this one can be used",
                                                      name, recipe.stages[i].at.line));
            }
            throw recipe.source
                .error(where,
                       fmt::format("there is no {} '{}' in the store{}",
                                   stage_index == 0 ? "image" : "earlier stage, and no image", name,
                                   did_you_mean(name, known)),
                       Errc::not_found)
                .hint(fmt::format("see `surcoat images`; make one from this machine with `surcoat import "
                                  "--host sh coreutils -t {}`, or load one with `surcoat load -i FILE`",
                                  name));
        }
        lease.hold_layers(image->layers);  // all at once: a gc may have been faster
        images.emplace(name, std::move(*image));
    };
    for (const PlannedStage& planned : plan.stages) {
        const recipe::Stage& stage = recipe.stages[planned.index];
        if (!planned.base_stage && !planned.scratch) {
            resolve(planned.base, planned.index, stage.base_at);
            const Image& base = images.at(planned.base);
            if (!base.config.on_build.empty()) {
                // Never ignored: the image means them to run.
                throw recipe.source
                    .error(stage.base_at,
                           fmt::format(
                               "the ONBUILD triggers of image '{}' ({}) are not supported by this version",
                               planned.base, fmt::join(base.config.on_build, "; ")),
                           Errc::unsupported)
                    .hint(
                        "build on the image that it was made from, and write these instructions in the "
                        "recipe");
            }
        }
        for (const std::string& from : planned.from_images) {
            for (const recipe::Step& step : stage.steps) {
                const auto* copy = std::get_if<recipe::Copy>(&step.what);
                if (copy != nullptr && copy->from && copy->from->text == from)
                    resolve(from, planned.index, copy->from->where);
            }
        }
    }

    BuildResult result;
    Ledger ledger(store_, lease);
    std::map<std::size_t, std::unique_ptr<StageBuilder>> finished;
    const PlannedStage* current = nullptr;
    BuildShared shared{store_,  workspaces_, observer_, ledger, recipe, options, plan.global_args,
                       context, {},          result,    {},     0,      0};
    shared.source = [&](const std::string& from) {
        if (const auto stage = current->from_stages.find(from); stage != current->from_stages.end()) {
            ledger.flush();  // its layers must be in the store before their contents can be read
            return source_of_layers(store_, fmt::format("stage '{}'", from),
                                    finished.at(stage->second)->image().layers);
        }
        return source_of_layers(store_, fmt::format("image '{}'", from), images.at(from).layers);
    };
    for (const PlannedStage& planned : plan.stages) shared.total += recipe.stages[planned.index].steps.size();
    try {
        for (const PlannedStage& planned : plan.stages) {
            current = &planned;
            const recipe::Stage& stage = recipe.stages[planned.index];
            Image base = planned.scratch      ? empty_image()
                         : planned.base_stage ? finished.at(*planned.base_stage)->image()
                                              : images.at(planned.base);
            auto builder = std::make_unique<StageBuilder>(shared, stage, std::move(base));
            if (planned.base_stage) builder->inherit(*finished.at(*planned.base_stage));
            builder->run();
            finished[planned.index] = std::move(builder);
        }
    } catch (...) {
        // What was done stays done: the next build takes it from the cache.
        try {
            ledger.flush();
        } catch (const Error& e) {
            observer_.warning(fmt::format("finished steps could not be kept: {}", e.what()));
        }
        throw;
    }
    ledger.flush();

    for (const recipe::GlobalArg& arg : recipe.args) shared.consumed_args.insert(arg.name.text);
    for (const auto& [name, value] : platform_args({})) shared.consumed_args.insert(name);
    std::vector<std::string> declared(shared.consumed_args.begin(), shared.consumed_args.end());
    for (const auto& [name, value] : options.build_args) {
        if (shared.consumed_args.count(name) == 0 && name != "SOURCE_DATE_EPOCH" && !is_proxy_variable(name)) {
            observer_.warning(
                fmt::format("--build-arg {} is not used by any ARG{}", name, did_you_mean(name, declared)));
        }
    }
    result.image = finished.at(plan.stages.back().index)->image();
    for (const auto& [name, value] : options.labels) result.image.config.labels[name] = value;
    return result;
}

}  // namespace surcoat::build
