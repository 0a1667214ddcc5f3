#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace surcoat {

/// A pipe between two stages of a pipeline: holds at most `capacity` items, so that memory does not grow
/// with the input. Either side may fail: the other then sees the same exception.
template <typename T>
class BoundedQueue {
  public:
    explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

    /// Waits for room. False once the reader has gone (nothing more is wanted).
    bool push(T item) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return items_.size() < capacity_ || reader_gone_; });
        if (reader_gone_) return false;
        items_.push_back(std::move(item));
        ready_.notify_one();
        return true;
    }
    /// Waits for an item; nothing at the end. Rethrows what the writer failed with.
    std::optional<T> pop() {
        std::unique_lock lock(mutex_);
        ready_.wait(lock, [&] { return !items_.empty() || closed_; });
        if (items_.empty()) {
            if (failure_) std::rethrow_exception(failure_);
            return std::nullopt;
        }
        T item = std::move(items_.front());
        items_.pop_front();
        room_.notify_one();
        return item;
    }
    /// The writer has no more, or has failed.
    void close(std::exception_ptr failure = {}) {
        std::lock_guard lock(mutex_);
        closed_ = true;
        failure_ = std::move(failure);
        ready_.notify_all();
    }
    /// The reader wants no more: push() returns false from now on.
    void abandon() {
        std::lock_guard lock(mutex_);
        reader_gone_ = true;
        items_.clear();
        room_.notify_all();
    }

  private:
    const std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable ready_;
    std::deque<T> items_;
    std::exception_ptr failure_;
    bool closed_ = false;
    bool reader_gone_ = false;
};

}  // namespace surcoat
