#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "layers/base/unique_fd.h"

namespace surcoat {

/// Many locks in one file: each name locks one byte of it (its position is a hash of the name; two names that
/// share one only wait for each other needlessly). Exclusive, by open file description: another ByteLocks of
/// the same process is a stranger too. All are released when this object and every duplicate of its
/// descriptor (in forked children) have gone. From one thread at a time.
class ByteLocks {
  public:
    explicit ByteLocks(const std::filesystem::path& file);

    void acquire(std::string_view name);  ///< waits; holding it already is fine
    bool try_acquire(std::string_view name);
    void release(std::string_view name) noexcept;

  private:
    UniqueFd fd_;
};

/// One name, held as long as this lives.
class ByteLock {
  public:
    ByteLock(ByteLocks& locks, std::string_view name) : locks_(locks), name_(name) { locks_.acquire(name_); }
    ByteLock(const ByteLock&) = delete;
    ByteLock& operator=(const ByteLock&) = delete;
    ~ByteLock() { locks_.release(name_); }

  private:
    ByteLocks& locks_;
    std::string name_;
};

}  // namespace surcoat
