#include "layers/base/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <thread>

#include "layers/base/file.h"

namespace surcoat {
namespace {

bool set_lock(int fd, FileLock::Mode mode, bool wait) {
    struct flock lock {};
    lock.l_type = mode == FileLock::Mode::shared ? F_RDLCK : F_WRLCK;
    lock.l_whence = SEEK_SET;
    while (::fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) != 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EACCES) return false;
        throw_errno("lock a file");
    }
    return true;
}

void write_holder(int fd, FileLock::Mode mode) {
    if (mode != FileLock::Mode::exclusive) return;
    const std::string pid = fmt::format("{}\n", ::getpid());
    if (::ftruncate(fd, 0) == 0) pwrite_full(fd, as_bytes(pid), 0);
}

}  // namespace

std::optional<FileLock> FileLock::try_acquire(const std::filesystem::path& path, Mode mode) {
    UniqueFd fd = open_file(path, O_RDWR | O_CREAT, 0644);
    if (!set_lock(fd.get(), mode, false)) return std::nullopt;
    write_holder(fd.get(), mode);
    return FileLock(std::move(fd));
}

FileLock FileLock::acquire(const std::filesystem::path& path, Mode mode,
                           std::optional<std::chrono::milliseconds> deadline) {
    UniqueFd fd = open_file(path, O_RDWR | O_CREAT, 0644);
    if (!deadline) {
        set_lock(fd.get(), mode, true);
    } else {
        const auto end = std::chrono::steady_clock::now() + *deadline;
        while (!set_lock(fd.get(), mode, false)) {
            if (std::chrono::steady_clock::now() >= end) {
                std::string holder(32, '\0');
                holder.resize(pread_full(fd.get(), std::as_writable_bytes(std::span(holder)), 0));
                while (!holder.empty() && holder.back() == '\n') holder.pop_back();
                throw Error(Errc::conflict, fmt::format("'{}' has been locked for {} ms by process {}", path.string(),
                                                        deadline->count(), holder.empty() ? "(unknown)" : holder))
                    .hint("wait for that process, or end it");
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));  // OFD locks offer no timed wait
        }
    }
    write_holder(fd.get(), mode);
    return FileLock(std::move(fd));
}

}  // namespace surcoat
