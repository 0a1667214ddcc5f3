#pragma once
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace surcoat {

/// Why a job could not be done. cmd/ maps each to one exit status.
enum class Errc {
    invalid,      ///< bad input or usage: exit 2
    not_found,    ///< something named does not exist: exit 4
    conflict,     ///< exists already, or is in use: exit 5
    no_space,     ///< disk, inodes or quota: exit 6
    interrupted,  ///< a signal ended it; partial work is gone: exit 7
    policy,       ///< a promise that was asked for is not met: exit 3
    corrupt,      ///< stored or received bytes are not what they must be: exit 1
    denied,       ///< a privilege is missing: exit 1
    unsupported,  ///< this machine or this version cannot: exit 1
    failed,       ///< something that ran did not succeed: exit 1
    io,           ///< the operating system said no: exit 1
};

/// "io", "not_found", …: stable, for JSON output.
std::string_view to_string(Errc code);

/// A job that cannot continue. `what()` is the message with its causes, one per
/// line; cmd/ prints the parts. Values you got and wanted belong in the message;
/// what to type next belongs in the hint. STYLE: "Errors tell the user what to do".
class Error : public std::exception {
  public:
    Error(Errc code, std::string message) : code_(code), causes_{std::move(message)} { render(); }

    Errc code() const noexcept { return code_; }
    const char* what() const noexcept override { return text_.c_str(); }

    /// Outermost first: "cannot build 'app:1'", "Dockerfile:12:5: …", "layer … is corrupt".
    const std::vector<std::string>& causes() const noexcept { return causes_; }
    const std::string& message() const noexcept { return causes_.back(); }
    const std::string& hint() const noexcept { return hint_; }

    /// errno of the call that failed, or 0.
    int os_error() const noexcept { return os_error_; }

    Error& hint(std::string text) & { hint_ = std::move(text); return *this; }
    Error&& hint(std::string text) && { hint_ = std::move(text); return std::move(*this); }
    Error& within(std::string context) & { causes_.insert(causes_.begin(), std::move(context)); render(); return *this; }
    Error&& within(std::string context) && { within(std::move(context)); return std::move(*this); }
    Error&& errno_was(int number) && { os_error_ = number; return std::move(*this); }

  private:
    void render();
    Errc code_;
    std::vector<std::string> causes_;
    std::string hint_;
    std::string text_;
    int os_error_ = 0;
};

/// The error for a system call that set errno: "cannot open '/x': No such file or
/// directory". ENOSPC, EDQUOT become Errc::no_space with a hint that says which of
/// bytes, inodes or quota ran out; EACCES, EPERM become denied; ENOENT not_found;
/// EINTR interrupted; the rest io.
[[nodiscard]] Error os_error(std::string_view doing, int errno_value);
[[noreturn]] void throw_errno(std::string_view doing);  ///< uses errno

/// Runs `body`; an Error that passes through is told what was being done.
template <typename Body>
decltype(auto) doing(const std::string& context, Body&& body) {
    try {
        return std::forward<Body>(body)();
    } catch (Error& e) {
        e.within(context);
        throw;
    }
}

}  // namespace surcoat
