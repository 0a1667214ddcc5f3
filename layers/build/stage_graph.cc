#include "layers/build/stage_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "layers/base/suggest.h"
#include "layers/image.h"
#include "layers/recipe/expand.h"
#include "layers/recipe/supported.h"

namespace surcoat::build {
namespace {

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

/// The latest stage before `limit` of that name, or the one of that number.
std::optional<std::size_t> find_stage(const recipe::Recipe& recipe, const std::string& name,
                                      std::size_t limit) {
    for (std::size_t i = std::min(limit, recipe.stages.size()); i-- > 0;) {
        if (is_stage_name(name, recipe.stages[i])) return i;
    }
    return std::nullopt;
}

std::optional<std::size_t> stage_number(const std::string& text) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

class Planner {
  public:
    Planner(const recipe::Recipe& recipe, Plan& plan)
        : recipe_(recipe), plan_(plan), done_(recipe.stages.size(), false) {}

    void need(std::size_t index) {
        if (done_[index]) return;
        done_[index] = true;
        const recipe::Stage& stage = recipe_.stages[index];
        PlannedStage planned;
        planned.index = index;
        const recipe::Expander expand(plan_.global_args, recipe_.escape);
        try {
            planned.base = expand.text(stage.base);
            recipe::check_platform(recipe_, stage, expand.text(stage.platform));
        } catch (Error& e) {
            if (e.code() != Errc::invalid) throw;
            throw recipe_.source.error(stage.base_at, e.message());
        }
        if (planned.base.empty()) {
            throw recipe_.source
                .error(stage.base_at, fmt::format("the base name '{}' is empty after expansion", stage.base))
                .hint("give the ARG a default before the first FROM, or pass --build-arg");
        }
        planned.scratch = lower(planned.base) == "scratch";
        if (!planned.scratch) planned.base_stage = find_stage(recipe_, planned.base, index);
        if (planned.base_stage) need(*planned.base_stage);
        for (const recipe::Step& step : stage.steps) {
            const auto* copy = std::get_if<recipe::Copy>(&step.what);
            if (copy == nullptr || !copy->from) continue;
            const std::string& from = copy->from->text;
            std::optional<std::size_t> found = find_stage(recipe_, from, index);
            if (!found) {
                if (const auto number = stage_number(from)) {
                    if (*number >= index) {
                        throw recipe_.source.error(copy->from->where,
                                                   fmt::format("--from={} names stage {}, but only stages "
                                                               "before this one ({}) can be copied from",
                                                               from, *number, index));
                    }
                    found = number;
                }
            }
            if (found) {
                need(*found);
                planned.from_stages[from] = *found;
            } else {
                planned.from_images.push_back(from);
            }
        }
        plan_.stages.push_back(std::move(planned));
    }

  private:
    const recipe::Recipe& recipe_;
    Plan& plan_;
    std::vector<bool> done_;
};

}  // namespace

bool is_stage_name(const std::string& text, const recipe::Stage& stage) {
    return !stage.name.empty() && lower(stage.name) == lower(text);
}

std::map<std::string, std::string> platform_args(const std::string& target_stage) {
    const Platform host = Platform::host();
    std::map<std::string, std::string> args;
    for (const char* side : {"TARGET", "BUILD"}) {
        const std::string prefix = side;
        args[prefix + "PLATFORM"] = host.str();
        args[prefix + "OS"] = host.os;
        args[prefix + "ARCH"] = host.architecture;
        args[prefix + "VARIANT"] = host.variant;
    }
    args["TARGETSTAGE"] = target_stage.empty() ? "default" : target_stage;
    return args;
}

Plan plan_stages(const recipe::Recipe& recipe, const std::string& target,
                 const std::map<std::string, std::string>& build_args) {
    Plan plan;
    plan.global_args = platform_args(target);
    for (auto& [name, value] : plan.global_args) {
        if (const auto given = build_args.find(name); given != build_args.end()) value = given->second;
    }
    for (const recipe::GlobalArg& arg : recipe.args) {
        const auto given = build_args.find(arg.name.text);
        if (given != build_args.end()) {
            plan.global_args[arg.name.text] = given->second;
        } else if (arg.value) {
            const recipe::Expander expand(plan.global_args, recipe.escape);
            try {
                plan.global_args[arg.name.text] = expand.text(arg.value->text);
            } catch (Error& e) { throw recipe.source.error(arg.value->where, e.message()); }
        }
    }
    std::size_t index = recipe.stages.size() - 1;
    if (!target.empty()) {
        auto found = find_stage(recipe, target, recipe.stages.size());
        if (!found) {
            if (const auto number = stage_number(target); number && *number < recipe.stages.size())
                found = number;
        }
        if (!found) {
            std::vector<std::string> names;
            for (const auto& stage : recipe.stages) {
                if (!stage.name.empty()) names.push_back(stage.name);
            }
            throw Error(Errc::not_found, fmt::format("{} has no stage '{}'{}", recipe.file, target,
                                                     did_you_mean(target, names)))
                .hint(names.empty() ? "its stages have no names; --target takes their number, from 0"
                                    : "stages: " + fmt::format("{}", fmt::join(names, ", ")));
        }
        index = *found;
    }
    Planner(recipe, plan).need(index);
    return plan;
}

}  // namespace surcoat::build
