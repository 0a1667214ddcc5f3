#include "layers/recipe/diagnostics.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

constexpr std::size_t kWidest = 100;  // characters of a line that are shown
constexpr std::size_t kBefore = 40;   // of these, before a span that lies far to the right

std::optional<std::string_view> find_line(std::string_view text, int number) {
    std::size_t at = 0;
    for (int line = 1; line < number; ++line) {
        at = text.find('\n', at);
        if (at == std::string_view::npos) return std::nullopt;
        ++at;
    }
    if (number < 1 || at > text.size()) return std::nullopt;
    std::string_view line = text.substr(at, text.find('\n', at) - at);
    while (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

/// A terminal must not be driven by the file that a message quotes.
std::string printable(const Character& c, std::string_view bytes) {
    if (c.value == '\t') return "\t";
    if (c.value < 0x20 || (c.value >= 0x7f && c.value < 0xa0)) return "?";
    if (c.value == kInvalidCharacter && c.size == 1) return "?";
    return std::string(bytes);
}

}  // namespace

std::string render_caret(std::string_view text, const Span& where) {
    const auto line = find_line(text, where.begin.line);
    if (!line || where.begin.column < 1) return {};
    std::vector<std::string> shown;
    for (std::size_t i = 0; i < line->size();) {
        const Character c = decode(*line, i);
        shown.push_back(printable(c, line->substr(i, c.size)));
        i += c.size;
    }
    const std::size_t begin = std::min(static_cast<std::size_t>(where.begin.column) - 1, shown.size());
    std::size_t end = where.end.line == where.begin.line && where.end.column > 0
                          ? static_cast<std::size_t>(where.end.column) - 1
                          : shown.size();
    end = std::clamp(end, begin, std::max(begin, shown.size()));

    std::size_t first = 0;
    std::size_t last = shown.size();
    if (last > kWidest) {
        first = begin > kWidest - kBefore ? begin - kBefore : 0;
        last = std::min(first + kWidest, last);
    }
    end = std::min(end, last);
    std::string quoted = first > 0 ? "…" : "";
    std::string marks = first > 0 ? " " : "";
    for (std::size_t i = first; i < last; ++i) {
        quoted += shown[i];
        if (i < begin) marks += shown[i] == "\t" ? "\t" : " ";
    }
    if (last < shown.size()) quoted += "…";
    while (quoted.ends_with(' ') || quoted.ends_with('\t')) quoted.pop_back();
    marks += '^';
    if (end > begin + 1) marks.append(end - begin - 1, '~');
    const std::string number = std::to_string(where.begin.line);
    const std::string gutter(std::max<std::size_t>(number.size(), 4), ' ');
    return fmt::format("{:>{}} | {}\n{} | {}", number, gutter.size(), quoted, gutter, marks);
}

std::string render(const Source& source, const Diagnostic& diagnostic) {
    std::string text = fmt::format("{}:{}:{}: warning: {} [{}]", source.name(), diagnostic.where.begin.line,
                                   diagnostic.where.begin.column, diagnostic.message, diagnostic.rule);
    const std::string caret = render_caret(source.text(), diagnostic.where);
    if (!caret.empty()) text += "\n" + caret;
    return text;
}

}  // namespace surcoat::recipe
