#pragma once
#include <unistd.h>

#include <utility>

#include "layers/base/error.h"

namespace surcoat {

/// One open descriptor, closed when it goes.
class UniqueFd {
  public:
    UniqueFd() noexcept = default;
    explicit UniqueFd(int fd) noexcept : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        UniqueFd(std::move(other)).swap(*this);  // closes what we held
        return *this;
    }
    ~UniqueFd() {
        if (fd_ >= 0) ::close(fd_);
    }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void swap(UniqueFd& other) noexcept { std::swap(fd_, other.fd_); }
    void reset() noexcept { UniqueFd().swap(*this); }

    /// Closes now and throws if a write was lost (EIO, EDQUOT, ENOSPC over NFS). Call it after writing.
    void close() {
        if (fd_ >= 0 && ::close(release()) != 0) throw_errno("close a file");
    }

    /// A second descriptor of the same open file, close-on-exec.
    UniqueFd duplicate() const;

  private:
    int fd_ = -1;
};

}  // namespace surcoat
