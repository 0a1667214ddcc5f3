#include "layers/recipe/mount.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/suggest.h"
#include "layers/recipe/characters.h"
#include "layers/recipe/quantity.h"

namespace surcoat::recipe {

namespace {

const std::vector<std::string> kKeys = {
    "type", "from",     "source", "src", "target",  "dst",  "destination", "ro",  "readonly", "readwrite",
    "rw",   "required", "size",   "id",  "sharing", "mode", "uid",         "gid", "env"};
const std::vector<std::string> kTypes = {"bind", "cache", "tmpfs", "secret", "ssh"};

Error refusal(
    std::string message,
    std::string hint = "RUN --mount=type=TYPE,target=PATH,…; see the language's table of mount options") {
    return Error(Errc::invalid, std::move(message)).hint(std::move(hint));
}

/// RFC 4180's fields of one line: a field may be in double quotes, "" inside is one of them.
std::vector<std::string> split_csv(std::string_view text) {
    std::vector<std::string> fields;
    if (text.empty()) return fields;
    for (std::size_t at = 0;;) {
        std::string field;
        if (at < text.size() && text[at] == '"') {
            for (++at;; ++at) {
                if (at >= text.size())
                    throw refusal(fmt::format("the mount '{}' has a quote that is not closed", text));
                if (text[at] != '"') {
                    field += text[at];
                } else if (at + 1 < text.size() && text[at + 1] == '"') {
                    field += text[at++];
                } else {
                    break;
                }
            }
            ++at;
            if (at < text.size() && text[at] != ',') {
                throw refusal(fmt::format("the mount '{}' has text behind a closing quote", text));
            }
        } else {
            const std::size_t end = std::min(text.find(',', at), text.size());
            field = text.substr(at, end - at);
            if (field.find('"') != std::string::npos) {
                throw refusal(fmt::format("the mount '{}' has a quote inside a field", text),
                              "quote the whole field: \"target=/a,b\"");
            }
            at = end;
        }
        fields.push_back(std::move(field));
        if (at >= text.size()) return fields;
        ++at;
    }
}

struct Field {
    std::string whole;
    std::string key;  // lower case
    std::string value;
    bool has_value = false;
};

std::vector<Field> split_fields(std::string_view text) {
    std::vector<Field> out;
    for (std::string& whole : split_csv(text)) {
        const std::size_t equals = whole.find('=');
        Field field;
        field.key = ascii_lower(std::string_view(whole).substr(0, equals));
        field.has_value = equals != std::string::npos;
        if (field.has_value) field.value = whole.substr(equals + 1);
        field.whole = std::move(whole);
        out.push_back(std::move(field));
    }
    return out;
}

bool parse_bool(const Field& field) {
    const std::string& v = field.value;
    if (v == "1" || v == "t" || v == "T" || v == "true" || v == "TRUE" || v == "True") return true;
    if (v == "0" || v == "f" || v == "F" || v == "false" || v == "FALSE" || v == "False") return false;
    throw refusal(fmt::format("the mount option '{}' is '{}', not true or false", field.key, v));
}

std::uint32_t parse_number(const Field& field, int base) {
    std::uint32_t number = 0;
    const char* end = field.value.data() + field.value.size();
    const auto [stop, error] = std::from_chars(field.value.data(), end, number, base);
    if (error != std::errc() || stop != end || field.value.empty()) {
        throw refusal(fmt::format("the mount option '{}' is '{}', not {} number", field.key, field.value,
                                  base == 8 ? "an octal" : "a"));
    }
    return number;
}

Error not_for_type(std::string_view key, Mount::Type type) {
    return refusal(fmt::format("the mount option '{}' is not one of type '{}'", key, to_string(type)),
                   "put type=… before the options that only it has");
}

Mount::Type parse_type(const std::string& value) {
    const std::string lower = ascii_lower(value);
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
        if (kTypes[i] == lower) return static_cast<Mount::Type>(i);
    }
    throw refusal(fmt::format("unknown mount type '{}'{}", value, did_you_mean(lower, kTypes)),
                  "the types are bind, cache, tmpfs, secret and ssh");
}

Mount::Sharing parse_sharing(const std::string& value) {
    const std::string lower = ascii_lower(value);
    if (lower == "shared") return Mount::Sharing::shared;
    if (lower == "private") return Mount::Sharing::private_;
    if (lower == "locked") return Mount::Sharing::locked;
    throw refusal(fmt::format("the mount option 'sharing' is '{}'", value),
                  "it can be shared, private or locked");
}

/// Options that contradict each other once all are known.
void check_together(const Mount& mount) {
    const bool owned = mount.type == Mount::Type::cache || mount.type == Mount::Type::secret ||
                       mount.type == Mount::Type::ssh;
    if (!owned && mount.mode) throw not_for_type("mode", mount.type);
    if (!owned && mount.uid) throw not_for_type("uid", mount.type);
    if (!owned && mount.gid) throw not_for_type("gid", mount.type);
    if (mount.sharing != Mount::Sharing::unset && mount.type != Mount::Type::cache)
        throw not_for_type("sharing", mount.type);
    if (mount.type != Mount::Type::secret) return;
    if (!mount.from.empty()) throw not_for_type("from", mount.type);
    if (mount.source.empty() && mount.target.empty() && mount.id.empty()) {
        throw refusal("a secret mount needs an id, a source or a target",
                      "write --mount=type=secret,id=NAME");
    }
    if (!mount.source.empty() && !mount.id.empty()) {
        throw refusal("a secret mount has both 'source' and 'id'", "they name the same thing: keep one");
    }
}

}  // namespace

std::string_view to_string(Mount::Type type) {
    return kTypes[static_cast<std::size_t>(type)];
}

std::string_view to_string(Mount::Sharing sharing) {
    switch (sharing) {
        case Mount::Sharing::shared:
            return "shared";
        case Mount::Sharing::private_:
            return "private";
        case Mount::Sharing::locked:
            return "locked";
        case Mount::Sharing::unset:
            break;
    }
    return "";
}

void check_mount(std::string_view text) {
    for (const Field& field : split_fields(text)) {
        const std::size_t dollar = field.value.find('$');
        if (field.key == "from" && dollar != std::string::npos && dollar + 1 != field.value.size()) {
            throw refusal(
                fmt::format("the mount option 'from' cannot have a variable, it is '{}'", field.value),
                "add a stage 'FROM $variable AS name' and write from=name");
        }
    }
}

Mount parse_mount(std::string_view text, const std::function<std::string(std::string_view)>& expand) {
    check_mount(text);
    Mount mount;
    std::optional<bool> read_only;
    for (Field& field : split_fields(text)) {
        const std::string& key = field.key;
        const bool may_require = mount.type == Mount::Type::secret || mount.type == Mount::Type::ssh;
        if (!field.has_value) {
            if (key == "ro" || key == "readonly") {
                read_only = true;
            } else if (key == "rw" || key == "readwrite") {
                read_only = false;
            } else if (key == "required") {
                if (!may_require) throw not_for_type(key, mount.type);
                mount.required = true;
            } else {
                throw refusal(fmt::format("the mount option '{}' has no value", field.whole),
                              "write it as key=value");
            }
            continue;
        }
        if (key != "from") field.value = expand(field.value);
        const std::string& value = field.value;
        if (key == "type") {
            mount.type = parse_type(value);
        } else if (key == "from") {
            mount.from = value;
        } else if (key == "source" || key == "src") {
            mount.source = value;
        } else if (key == "target" || key == "dst" || key == "destination") {
            mount.target = value;
        } else if (key == "ro" || key == "readonly") {
            read_only = parse_bool(field);
        } else if (key == "rw" || key == "readwrite") {
            read_only = !parse_bool(field);
        } else if (key == "required") {
            if (!may_require) throw not_for_type(key, mount.type);
            mount.required = parse_bool(field);
        } else if (key == "size") {
            if (mount.type != Mount::Type::tmpfs) throw not_for_type(key, mount.type);
            mount.size_bytes = parse_size(value);
        } else if (key == "id") {
            mount.id = value;
        } else if (key == "sharing") {
            mount.sharing = parse_sharing(value);
        } else if (key == "mode") {
            mount.mode = parse_number(field, 8);
        } else if (key == "uid") {
            mount.uid = parse_number(field, 10);
        } else if (key == "gid") {
            mount.gid = parse_number(field, 10);
        } else if (key == "env") {
            mount.env = value;
        } else {
            throw refusal(fmt::format("unknown mount option '{}'{}", field.whole, did_you_mean(key, kKeys)));
        }
    }
    mount.read_only =
        read_only.value_or(mount.type != Mount::Type::cache && mount.type != Mount::Type::tmpfs);
    check_together(mount);
    return mount;
}

}  // namespace surcoat::recipe
