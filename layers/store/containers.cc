// A container's directory and its row cannot appear in one step. The directory is made first: without a row
// it is garbage. So that gc does not take it before the row is there, its maker holds the byte of
// lock/containers that belongs to the id, and keeps it for as long as its Store lives; once there is a row
// nobody asks any more.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "layers/base/error.h"
#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/store/store_state.h"

namespace surcoat {
namespace {

void require_id(const std::string& id) {
    if (id.empty() || id.find_first_not_of("0123456789abcdef") != std::string::npos) {
        throw Error(Errc::invalid, fmt::format("'{}' is not a container's id", id));
    }
}

}  // namespace

std::filesystem::path Store::container_directory(const std::string& id) const {
    require_id(id);
    return path("containers") / id;
}

void Store::create_container_directory(const std::string& id) {
    const std::filesystem::path directory = container_directory(id);
    if (!state_->container_locks.try_acquire(id)) {
        throw Error(Errc::conflict,
                    fmt::format("container {} is being made or removed by another process", id));
    }
    if (::mkdir(directory.c_str(), 0755) != 0)
        throw_errno(fmt::format("create directory '{}'", directory.string()));
    fault_point("container.made_directory");
    for (const char* part : {"upper", "work"}) {
        const std::filesystem::path made = directory / part;
        // The upper's mode is the mode of the container's "/": no umask may take from it.
        if (::mkdir(made.c_str(), 0755) != 0 || ::chmod(made.c_str(), 0755) != 0) {
            throw_errno(fmt::format("create directory '{}'", made.string()));
        }
    }
    fault_point("container.made_upper");
}

void Store::container_directory_published(const std::string& id) noexcept {
    state_->container_locks.release(id);
}

void Store::remove_container_directory(const std::string& id) {
    const std::filesystem::path directory = container_directory(id);
    const std::filesystem::path grave = path("tx") / ("removed-" + id);
    // Not the maker's lock: the maker may still run, and for long.
    const ByteLock lock(state_->container_locks, id + ".removed");
    if (::rename(directory.c_str(), grave.c_str()) != 0 && errno != ENOENT) {
        throw_errno(fmt::format("remove container directory '{}'", directory.string()));
    }
    fault_point("container.moved_away");
    remove_tree(grave);
}

}  // namespace surcoat
