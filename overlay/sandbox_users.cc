#include "overlay/sandbox_users.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "layers/base/suggest.h"

namespace surcoat::overlay {
namespace {

// 2^32-1 means "unchanged" to setresuid(2).
constexpr std::uint32_t kLargestId = 0xfffffffe;
constexpr std::size_t kLargestFile = 16 << 20;

std::optional<std::uint32_t> parse_id(std::string_view text) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size() || value > kLargestId) {
        return std::nullopt;
    }
    return value;
}

bool all_digits(std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

struct Account {
    std::string name;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::string home;
};

struct Group {
    std::string name;
    std::uint32_t gid = 0;
    std::vector<std::string> members;
};

// Lines that are not what they should be are passed over, as getpwent(3) does.
std::vector<Account> read_accounts(const RootDir& root) {
    std::vector<Account> all;
    const std::string text = root.read_file("etc/passwd", kLargestFile).value_or("");
    for (const auto line : split(text, '\n')) {
        const auto fields = split(line, ':');
        if (fields.size() < 4 || fields[0].empty()) continue;
        const auto uid = parse_id(fields[2]);
        const auto gid = parse_id(fields[3]);
        if (!uid || !gid) continue;
        all.push_back({std::string(fields[0]), *uid, *gid, fields.size() > 5 ? std::string(fields[5]) : ""});
    }
    return all;
}

std::vector<Group> read_groups(const RootDir& root) {
    std::vector<Group> all;
    const std::string text = root.read_file("etc/group", kLargestFile).value_or("");
    for (const auto line : split(text, '\n')) {
        const auto fields = split(line, ':');
        if (fields.size() < 3 || fields[0].empty()) continue;
        const auto gid = parse_id(fields[2]);
        if (!gid) continue;
        Group group{std::string(fields[0]), *gid, {}};
        if (fields.size() > 3) {
            for (const auto member : split(fields[3], ',')) group.members.emplace_back(member);
        }
        all.push_back(std::move(group));
    }
    return all;
}

template <typename Items>
std::vector<std::string> names_of(const Items& items) {
    std::vector<std::string> names;
    for (const auto& item : items) names.push_back(item.name);
    return names;
}

Error unknown(const char* kind, const char* file, std::string_view name,
              const std::vector<std::string>& known) {
    return Error(Errc::invalid,
                 fmt::format("no {} '{}' in the root's {}{}", kind, name, file, did_you_mean(name, known)))
        .hint(fmt::format("give a number, or add the {} to {} in the image", kind, file));
}

std::uint32_t find_group(const std::vector<Group>& groups, std::string_view wanted) {
    for (const auto& group : groups) {
        if (group.name == wanted) return group.gid;
    }
    if (const auto number = parse_id(wanted)) return *number;
    if (all_digits(wanted)) throw Error(Errc::invalid, fmt::format("group id {} is out of range", wanted));
    throw unknown("group", "/etc/group", wanted, names_of(groups));
}

}  // namespace

SandboxUser find_user(const RootDir& root, const std::string& wanted) {
    const std::size_t colon = wanted.find(':');
    const std::string name = wanted.substr(0, colon);
    const std::string group = colon == std::string::npos ? "" : wanted.substr(colon + 1);

    const auto accounts = read_accounts(root);
    const Account* account = nullptr;
    SandboxUser user;
    for (const auto& candidate : accounts) {
        if (!name.empty() && candidate.name == name) account = &candidate;
        if (account != nullptr) break;
    }
    if (account == nullptr) {
        const auto number = name.empty() ? std::optional<std::uint32_t>(0) : parse_id(name);
        if (!number && all_digits(name))
            throw Error(Errc::invalid, fmt::format("user id {} is out of range", name));
        if (!number) throw unknown("user", "/etc/passwd", name, names_of(accounts));
        user.uid = *number;
        for (const auto& candidate : accounts) {
            if (candidate.uid == *number) {
                account = &candidate;
                break;
            }
        }
    }
    if (account != nullptr) {
        user.uid = account->uid;
        user.gid = account->gid;
        if (!account->home.empty()) user.home = account->home;
    }
    if (group.empty() && account == nullptr) return user;
    const auto groups = read_groups(root);
    if (!group.empty()) {
        user.gid = find_group(groups, group);
        return user;
    }
    for (const auto& candidate : groups) {
        const bool member = std::find(candidate.members.begin(), candidate.members.end(), account->name) !=
                            candidate.members.end();
        if (member && candidate.gid != user.gid) user.groups.push_back(candidate.gid);
    }
    return user;
}

}  // namespace surcoat::overlay
