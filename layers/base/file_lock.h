#pragma once
#include <chrono>
#include <filesystem>
#include <optional>

#include "layers/base/unique_fd.h"

namespace surcoat {

/// An open-file-description lock (fcntl F_OFD_SETLK) on a file that is created when missing: held by this
/// object, released when it goes or its process dies, shared by forked children only through the descriptor.
/// The holder's pid is written into the file when it is exclusive, for messages.
class FileLock {
  public:
    enum class Mode { shared, exclusive };

    /// Waits up to `deadline` (default: for ever). Throws Errc::conflict naming the holder when it passes.
    static FileLock acquire(const std::filesystem::path& path, Mode mode,
                            std::optional<std::chrono::milliseconds> deadline = {});
    /// Nothing if somebody else holds it.
    static std::optional<FileLock> try_acquire(const std::filesystem::path& path, Mode mode);

    /// For handing a lock over to a child process.
    int fd() const noexcept { return fd_.get(); }

  private:
    explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace surcoat
