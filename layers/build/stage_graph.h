#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/recipe/recipe.h"

namespace surcoat::build {

/// What a stage needs from others.
struct PlannedStage {
    std::size_t index = 0;                  ///< in recipe.stages
    std::string base;                       ///< expanded FROM
    std::optional<std::size_t> base_stage;  ///< FROM names an earlier stage
    bool scratch = false;
    /// COPY --from: as written → stage, for those that name one; the rest are images.
    std::map<std::string, std::size_t> from_stages;
    std::vector<std::string> from_images;
};

/// The stages that the target needs, in an order in which each comes after what it needs. Others are left
/// out.
struct Plan {
    std::vector<PlannedStage> stages;                ///< the last one is the target
    std::map<std::string, std::string> global_args;  ///< values visible to FROM and to `ARG name` in stages
};

/// `target`: a stage's name or number, "" for the last. `build_args`: from the command line. Throws
/// Errc::invalid with a position (unknown stage, forward reference) or Errc::not_found for the target.
Plan plan_stages(const recipe::Recipe& recipe, const std::string& target,
                 const std::map<std::string, std::string>& build_args);

/// Whether `text` (of FROM, --from, --target) names the stage. Letter case does not count.
bool is_stage_name(const std::string& text, const recipe::Stage& stage);

/// Hardware and target variables that every recipe may ask for: TARGETPLATFORM and so on.
std::map<std::string, std::string> platform_args(const std::string& target_stage);

}  // namespace surcoat::build
