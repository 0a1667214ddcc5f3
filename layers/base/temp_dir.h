#pragma once
#include <filesystem>

namespace surcoat {

/// A new directory (0700) that removes itself with all that is in it.
class TempDir {
  public:
    /// Beneath `parent`; default $TMPDIR or /tmp.
    explicit TempDir(const std::filesystem::path& parent = {}, const char* prefix = "surcoat.");
    TempDir(TempDir&& other) noexcept;
    TempDir& operator=(TempDir&&) = delete;
    ~TempDir();
    const std::filesystem::path& path() const noexcept { return path_; }
    /// Keeps it: the caller owns the directory from now on.
    std::filesystem::path release() noexcept;

  private:
    std::filesystem::path path_;
};

}  // namespace surcoat
