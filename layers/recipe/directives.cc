#include "layers/recipe/directives.h"

#include <fmt/core.h>

#include <algorithm>

#include "layers/base/json.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

struct NameAndValue {
    std::string name;
    std::string_view value;
};

/// "# name = value" with the given comment mark; a name is ASCII letters, then letters and digits.
std::optional<NameAndValue> split_directive(std::string_view line, std::string_view mark) {
    if (!line.starts_with(mark)) return std::nullopt;
    line = trim(line.substr(mark.size()));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view name = trim(line.substr(0, equals));
    const std::string_view value = trim(line.substr(equals + 1));
    const bool is_name = !name.empty() && !is_digit(static_cast<unsigned char>(name[0])) &&
                         std::all_of(name.begin(), name.end(), [](unsigned char c) {
                             return c < 0x80 && (is_letter(c) || is_digit(c));
                         });
    if (!is_name || value.empty()) return std::nullopt;
    return NameAndValue{ascii_lower(name), value};
}

template <typename Take>
void walk_directives(const Source& source, std::string_view mark, const Take& take) {
    for (int number = 1; number <= source.line_count(); ++number) {
        const std::string_view line = source.line(number);
        if (number == 1 && line.starts_with("#!")) continue;
        const auto found = split_directive(line, mark);
        if (!found || (found->name != "syntax" && found->name != "escape" && found->name != "check")) return;
        if (!take(*found, number, line)) return;
    }
}

}  // namespace

std::vector<Directive> read_directives(const Source& source) {
    std::vector<Directive> out;
    walk_directives(source, "#", [&](const NameAndValue& found, int number, std::string_view line) {
        const auto begin = static_cast<std::size_t>(found.value.data() - line.data());
        const Span where{source.position(number, begin), source.position(number, begin + found.value.size())};
        for (const Directive& other : out) {
            if (other.name != found.name) continue;
            throw source
                .error(where,
                       fmt::format("the directive '{}' is given a second time, the first is on line {}",
                                   found.name, other.where.begin.line))
                .hint(fmt::format("keep one line '# {}=…'", found.name));
        }
        out.push_back({found.name, std::string(found.value), where});
        return true;
    });
    return out;
}

char escape_character(const Source& source, const std::vector<Directive>& directives) {
    for (const Directive& directive : directives) {
        if (directive.name != "escape") continue;
        if (directive.value == "\\" || directive.value == "`") return directive.value[0];
        throw source
            .error(directive.where, fmt::format("the escape character cannot be '{}'", directive.value))
            .hint("write '# escape=\\' (the default) or '# escape=`'");
    }
    return '\\';
}

std::optional<Syntax> detect_syntax(std::string_view text) {
    const auto from_value = [](std::string_view value) -> std::optional<Syntax> {
        if (value.empty()) return std::nullopt;
        const std::size_t end = std::min(value.find(' '), value.size());
        return Syntax{std::string(value.substr(0, end)), std::string(value)};
    };
    const Source source("", std::string(text));
    std::optional<Syntax> found;
    for (const std::string_view mark : {"#", "//"}) {
        walk_directives(source, mark, [&](const NameAndValue& directive, int, std::string_view) {
            if (directive.name == "syntax") found = from_value(directive.value);
            return !found;
        });
        if (found) return found;
    }
    if (!trim(source.text()).starts_with('{')) return std::nullopt;
    try {
        const Json document = Json::parse(source.text(), "recipe");
        return document["syntax"].is_string() ? from_value(document["syntax"].as_string()) : std::nullopt;
    } catch (const Error&) {
        return std::nullopt;  // not a JSON document after all
    }
}

}  // namespace surcoat::recipe
