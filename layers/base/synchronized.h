#pragma once
#include <mutex>
#include <utility>

namespace surcoat {

/// A value that can be reached only while its mutex is held.
template <typename T>
class Synchronized {
  public:
    Synchronized() = default;
    explicit Synchronized(T value) : value_(std::move(value)) {}

    class Locked {
      public:
        T* operator->() const noexcept { return &value_; }
        T& operator*() const noexcept { return value_; }
        /// For condition variables.
        std::unique_lock<std::mutex>& guard() noexcept { return guard_; }

      private:
        friend class Synchronized;
        Locked(std::mutex& mutex, T& value) : guard_(mutex), value_(value) {}
        std::unique_lock<std::mutex> guard_;
        T& value_;
    };
    Locked lock() { return Locked(mutex_, value_); }

  private:
    std::mutex mutex_;
    T value_;
};

}  // namespace surcoat
