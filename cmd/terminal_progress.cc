#include "cmd/terminal_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cmd/output.h"

namespace surcoat::cmd {
namespace {

bool is_terminal() {
    const char* term = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) != 0 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

}  // namespace

TerminalProgress::TerminalProgress(bool quiet) : quiet_(quiet), terminal_(is_terminal()) {}
TerminalProgress::~TerminalProgress() { clear(); }

void TerminalProgress::clear() {
    if (line_) std::fputs("\r\033[K", stderr);
    line_ = false;
}

void TerminalProgress::bytes(std::string_view what, std::uint64_t done, std::uint64_t total) {
    if (quiet_ || !terminal_) return;
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    clear();
    if (total != 0) {
        fmt::print(stderr, "{}  {} of {}  {}%", printable(what), human_bytes(done), human_bytes(total), done * 100 / total);
    } else {
        fmt::print(stderr, "{}  {}", printable(what), human_bytes(done));
    }
    line_ = true;
}

void TerminalProgress::note(std::string_view text) {
    if (quiet_) return;
    const std::lock_guard lock(mutex_);
    clear();
    say(printable(text));
}

void TerminalProgress::warning(std::string_view text) {
    const std::lock_guard lock(mutex_);
    clear();
    say("warning: " + std::string(text));
}

}  // namespace surcoat::cmd
