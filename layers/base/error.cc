#include "layers/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace surcoat {

std::string_view to_string(Errc code) {
    switch (code) {
        case Errc::invalid: return "invalid";
        case Errc::not_found: return "not_found";
        case Errc::conflict: return "conflict";
        case Errc::no_space: return "no_space";
        case Errc::interrupted: return "interrupted";
        case Errc::policy: return "policy";
        case Errc::corrupt: return "corrupt";
        case Errc::denied: return "denied";
        case Errc::unsupported: return "unsupported";
        case Errc::failed: return "failed";
        case Errc::io: return "io";
    }
    return "io";
}

void Error::render() {
    text_.clear();
    for (const auto& cause : causes_) {
        if (!text_.empty()) text_ += "\n  because: ";
        text_ += cause;
    }
}

Error os_error(std::string_view doing, int errno_value) {
    Errc code = Errc::io;
    std::string hint;
    switch (errno_value) {
        case ENOSPC:
            code = Errc::no_space;
            hint = "no bytes or no inodes are left: look with `df` and `df -i`, free some with `surcoat gc`";
            break;
        case EDQUOT:
            code = Errc::no_space;
            hint = "the quota of this user or project is used up, not the disk";
            break;
        case ENOENT: code = Errc::not_found; break;
        case EACCES:
        case EPERM: code = Errc::denied; break;
        case EINTR: code = Errc::interrupted; break;
        case EOVERFLOW:
            hint = "the file's owner has no number in this user namespace's id map";
            break;
        default: break;
    }
    Error error(code, fmt::format("cannot {}: {}", doing, std::generic_category().message(errno_value)));
    if (!hint.empty()) error.hint(hint);
    return std::move(error).errno_was(errno_value);
}

void throw_errno(std::string_view doing) {
    throw os_error(doing, errno);
}

}  // namespace surcoat
