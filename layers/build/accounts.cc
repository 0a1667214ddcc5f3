#include "layers/build/accounts.h"

#include <algorithm>
#include <charconv>
#include <sstream>

namespace surcoat::build {
namespace {

std::optional<std::uint32_t> number(std::string_view text) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

}  // namespace

Accounts::Accounts(const std::function<std::optional<std::string>(const std::string& path)>& read) {
    if (const auto passwd = read("etc/passwd")) users_ = parse(*passwd, true);
    if (const auto group = read("etc/group")) groups_ = parse(*group, false);
}

std::vector<Accounts::Account> Accounts::parse(const std::string& text, bool with_group) {
    std::vector<Account> all;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::vector<std::string> fields;
        std::istringstream parts(line);
        for (std::string field; std::getline(parts, field, ':');) fields.push_back(field);
        if (fields.size() < 3) continue;
        const auto id = number(fields[2]);
        if (!id) continue;
        const auto group = with_group && fields.size() > 3 ? number(fields[3]) : std::nullopt;
        all.push_back({fields[0], *id, group.value_or(0)});
    }
    return all;
}

Accounts::Owner Accounts::chown(const std::string& text) const {
    Owner owner;
    const std::size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    if (!name.empty()) {
        const auto by_name =
            std::find_if(users_.begin(), users_.end(), [&](const Account& a) { return a.name == name; });
        if (by_name != users_.end()) {
            owner.uid = by_name->id;
            owner.gid = by_name->group;
        } else if (const auto id = number(name)) {
            owner.uid = *id;
            owner.gid = *id;
            const auto by_id =
                std::find_if(users_.begin(), users_.end(), [&](const Account& a) { return a.id == *id; });
            if (by_id != users_.end()) owner.gid = by_id->group;
        } else {
            owner.unknown = name;
        }
    }
    if (colon != std::string::npos) {
        const std::string group = text.substr(colon + 1);
        const auto by_name =
            std::find_if(groups_.begin(), groups_.end(), [&](const Account& a) { return a.name == group; });
        if (by_name != groups_.end()) {
            owner.gid = by_name->id;
        } else if (const auto id = number(group)) {
            owner.gid = *id;
        } else if (group.empty()) {
            owner.gid = 0;
        } else if (owner.unknown.empty()) {
            owner.unknown = group;
        }
    }
    return owner;
}

Accounts::Owner Accounts::user(const std::string& text) const {
    Owner owner = chown(text);
    if (text.find(':') == std::string::npos) {
        if (const auto id = number(text)) {
            const bool known =
                std::any_of(users_.begin(), users_.end(), [&](const Account& a) { return a.id == *id; });
            if (!known) owner.gid = 0;
        }
    }
    return owner;
}

}  // namespace surcoat::build
