#pragma once
#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "layers/base/progress.h"

namespace surcoat::cmd {

/// Draws one moving line on standard error if that is a terminal; otherwise only notes and warnings.
/// Quiet: warnings only. Safe for many threads.
class TerminalProgress final : public Progress {
  public:
    explicit TerminalProgress(bool quiet);
    ~TerminalProgress() override;
    void bytes(std::string_view what, std::uint64_t done_bytes, std::uint64_t total_bytes) override;
    void note(std::string_view text) override;
    void warning(std::string_view text) override;

  private:
    void clear();
    const bool quiet_;
    const bool terminal_;
    std::mutex mutex_;
    std::chrono::steady_clock::time_point drawn_{};
    bool line_ = false;
};

}  // namespace surcoat::cmd
