#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "layers/build/source_tree.h"

namespace surcoat::build {

/// A build context: a host directory, seen through its ignore file. Nothing outside the directory can be
/// reached through it (RootDir). Regular files are hashed when a step selects them, never by name and time.
class BuildContext {
  public:
    /// `recipe` as the user gave it (-f), relative to the current directory, or none: Surcoatfile,
    /// Containerfile, Dockerfile are looked for in that order. "-" reads the recipe from standard input.
    /// Throws Errc::not_found naming what was looked for.
    BuildContext(const std::filesystem::path& directory, const std::optional<std::string>& recipe);

    /// A recipe without a context: a COPY from it finds nothing.
    static BuildContext without_files(std::string recipe_text, std::string recipe_name);

    const std::string& recipe_text() const { return recipe_text_; }
    const std::string& recipe_name() const { return recipe_name_; }
    /// The directory as COPY sees it. Made at the first call, so that a build without COPY reads nothing.
    const SourceTree& files();

  private:
    BuildContext() = default;
    std::filesystem::path directory_;
    std::string recipe_text_;
    std::string recipe_name_;
    std::filesystem::path recipe_path_;
    std::optional<SourceTree> files_;
};

}  // namespace surcoat::build
