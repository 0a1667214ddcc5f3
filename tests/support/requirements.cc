#include "tests/support/requirements.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

namespace surcoat::test {

std::optional<std::filesystem::path> vectors_directory() {
    const char* shared = std::getenv("SURCOAT_SHARED");
    for (const std::filesystem::path& base : {std::filesystem::path(shared != nullptr ? shared : ""), std::filesystem::path("../shared")}) {
        if (!base.empty() && std::filesystem::exists(base / "vectors" / "build")) return base / "vectors";
    }
    return std::nullopt;
}

std::optional<std::string> cannot_mount() {
    static const std::optional<std::string> reason = []() -> std::optional<std::string> {
        if (::geteuid() != 0) return "mounting needs root";
        const pid_t child = ::fork();
        if (child == 0) {
            if (::unshare(CLONE_NEWNS) != 0) ::_exit(1);
            ::_exit(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 ? 0 : 1);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        if (status != 0) return "this root may not mount (no CAP_SYS_ADMIN)";
        return std::nullopt;
    }();
    return reason;
}

std::optional<std::string> cannot_find(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "");
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (::access((folder + "/" + program).c_str(), X_OK) == 0) return std::nullopt;
    }
    return program + " is not installed";
}

}  // namespace surcoat::test
