#include "layers/base/temp_dir.h"

#include <fmt/format.h>

#include <cstdlib>
#include <utility>

#include "layers/base/error.h"
#include "layers/base/file.h"

namespace surcoat {

TempDir::TempDir(const std::filesystem::path& parent, const char* prefix) {
    std::filesystem::path base = parent;
    if (base.empty()) {
        const char* tmp = std::getenv("TMPDIR");
        base = tmp != nullptr && *tmp != '\0' ? tmp : "/tmp";
    }
    std::string pattern = (base / prefix).string() + "XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw_errno(fmt::format("create a temporary directory in '{}'", base.string()));
    path_ = pattern;
}

TempDir::TempDir(TempDir&& other) noexcept : path_(std::exchange(other.path_, {})) {}

TempDir::~TempDir() {
    if (path_.empty()) return;
    try {
        remove_tree(path_);
    } catch (const Error&) {
        // A destructor abandons; what is left is in a temporary directory and named by its prefix.
    }
}

std::filesystem::path TempDir::release() noexcept { return std::exchange(path_, {}); }

}  // namespace surcoat
