#include "layers/recipe/flags.h"

#include <fmt/core.h>

#include <algorithm>

#include "layers/base/suggest.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

std::string known_flags(const std::string& keyword, const std::vector<FlagSet::Known>& known) {
    if (known.empty())
        return fmt::format("{} takes no flags; put '--' before an argument that begins with --", keyword);
    std::string out;
    for (const FlagSet::Known& flag : known) out += (out.empty() ? "" : ", ") + ("--" + flag.name);
    return fmt::format("{} knows {}", keyword, out);
}

}  // namespace

FlagSet::FlagSet(const Source& source, const Instruction& instruction, const std::vector<Known>& known) {
    const std::string keyword = ascii_upper(instruction.keyword);
    for (const Word& flag : instruction.flags) {
        const std::size_t equals = flag.text.find('=');
        const bool has_value = equals != std::string::npos;
        const std::string name = flag.text.substr(2, has_value ? equals - 2 : equals);
        std::string value = has_value ? flag.text.substr(equals + 1) : "";
        const auto kind =
            std::find_if(known.begin(), known.end(), [&](const Known& k) { return k.name == name; });
        if (kind == known.end()) {
            std::vector<std::string> names;
            for (const Known& k : known) names.push_back("--" + k.name);
            throw source
                .error(flag.where, fmt::format("unknown flag '--{}' of {}{}", name, keyword,
                                               did_you_mean("--" + name, names)))
                .hint(known_flags(keyword, known));
        }
        if (kind->kind != Kind::list &&
            std::any_of(given_.begin(), given_.end(), [&](const Given& g) { return g.name == name; })) {
            throw source.error(flag.where, fmt::format("flag '--{}' is given a second time", name))
                .hint("keep one of them");
        }
        if (kind->kind == Kind::boolean ? has_value && value.empty() : !has_value) {
            throw source.error(flag.where, fmt::format("flag '--{}' has no value", name))
                .hint(fmt::format("write --{}={}, with '=' and without blanks", name,
                                  kind->kind == Kind::boolean ? "true" : "value"));
        }
        if (kind->kind == Kind::boolean) {
            value = has_value ? ascii_lower(value) : "true";
            if (value != "true" && value != "false") {
                throw source
                    .error(flag.where, fmt::format("flag '--{}' is '{}', not true or false", name, value))
                    .hint(fmt::format("write --{0} or --{0}=false", name));
            }
        }
        given_.push_back({name, {std::move(value), flag.where}});
    }
}

std::optional<bool> FlagSet::boolean(std::string_view name) const {
    const auto value = text(name);
    return value ? std::optional(value->text == "true") : std::nullopt;
}

std::optional<Word> FlagSet::text(std::string_view name) const {
    for (const Given& flag : given_) {
        if (flag.name == name) return flag.value;
    }
    return std::nullopt;
}

std::vector<Word> FlagSet::list(std::string_view name) const {
    std::vector<Word> out;
    for (const Given& flag : given_) {
        if (flag.name == name) out.push_back(flag.value);
    }
    return out;
}

}  // namespace surcoat::recipe
