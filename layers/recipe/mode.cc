#include "layers/recipe/mode.h"

#include <fmt/core.h>

#include "layers/base/error.h"

namespace surcoat::recipe {

namespace {

constexpr std::uint32_t kSetuid = 04000;
constexpr std::uint32_t kSetgid = 02000;
constexpr std::uint32_t kSticky = 01000;
constexpr std::uint32_t kUser = 0700;
constexpr std::uint32_t kGroup = 0070;
constexpr std::uint32_t kOther = 0007;

Error refusal(std::string_view text) {
    return Error(Errc::invalid, fmt::format("'{}' is not a file mode", text))
        .hint("write an octal number from 0 to 7777 (755), or letters as for chmod(1) (u=rwX,go=rX)");
}

/// The permission of the class `who` (u, g, o) of a mode, for all three classes.
std::uint32_t spread(std::uint32_t mode, char who) {
    const std::uint32_t bits = (mode >> (who == 'u' ? 6 : who == 'g' ? 3 : 0)) & 7;
    return bits << 6 | bits << 3 | bits;
}

}  // namespace

ModeChange::ModeChange(std::string_view text) {
    if (text.empty()) throw refusal(text);
    if (text[0] >= '0' && text[0] <= '9') {
        std::uint32_t value = 0;
        for (const char c : text) {
            if (c < '0' || c > '7' || value > 07777) throw refusal(text);
            value = value * 8 + static_cast<std::uint32_t>(c - '0');
        }
        if (value > 07777) throw refusal(text);
        octal_ = value;
        return;
    }
    std::size_t at = 0;
    const auto peek = [&]() { return at < text.size() ? text[at] : '\0'; };
    const auto is_operation = [](char c) { return c == '+' || c == '-' || c == '='; };
    for (;;) {
        std::uint32_t who = 0;
        for (; std::string_view("ugoa").find(peek()) != std::string_view::npos && at < text.size(); ++at) {
            who |= peek() == 'u' ? kUser : peek() == 'g' ? kGroup : peek() == 'o' ? kOther : 0777U;
        }
        if (who == 0) who = 0777;  // umask 0: as "a"
        if (!is_operation(peek())) throw refusal(text);
        while (is_operation(peek())) {
            Action action;
            action.who = who;
            action.operation = text[at++];
            if (peek() == 'u' || peek() == 'g' || peek() == 'o') {
                action.copy_from = text[at++];
            } else {
                for (;; ++at) {
                    const char c = peek();
                    if (c == 'r')
                        action.bits |= 0444;
                    else if (c == 'w')
                        action.bits |= 0222;
                    else if (c == 'x')
                        action.bits |= 0111;
                    else if (c == 'X')
                        action.conditional_x = true;
                    else if (c == 's')
                        action.bits |= kSetuid | kSetgid;
                    else if (c == 't')
                        action.bits |= kSticky;
                    else
                        break;
                }
            }
            actions_.push_back(action);
        }
        if (at == text.size()) return;
        if (text[at] != ',') throw refusal(text);
        ++at;
    }
}

std::uint32_t ModeChange::apply(std::uint32_t mode, bool is_directory) const {
    if (octal_) return *octal_;
    const std::uint32_t original = mode & 07777;
    std::uint32_t now = original;
    for (const Action& action : actions_) {
        // setuid goes with u, setgid with g, the sticky bit with u.
        const std::uint32_t set_id =
            ((action.who & kUser) != 0 ? kSetuid : 0) | ((action.who & kGroup) != 0 ? kSetgid : 0);
        const std::uint32_t reach = action.who | set_id | ((action.who & kUser) != 0 ? kSticky : 0);
        std::uint32_t bits = action.copy_from != 0 ? spread(now, action.copy_from) : action.bits;
        if (action.conditional_x && (is_directory || (original & 0111) != 0)) bits |= 0111;
        bits &= reach;
        if (action.operation == '-') {
            now &= ~bits;
        } else if (action.operation == '+') {
            now |= bits;
        } else {
            // "=" leaves the sticky bit, and what it copies from a class has no set-id bits to change.
            now = (now & ~(action.who | (action.copy_from != 0 ? 0 : set_id))) | bits;
        }
    }
    return now;
}

}  // namespace surcoat::recipe
