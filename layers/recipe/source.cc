#include "layers/recipe/source.h"

#include <fmt/core.h>

#include "layers/recipe/characters.h"
#include "layers/recipe/diagnostics.h"

namespace surcoat::recipe {

namespace {
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
}

Source::Source(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
    if (text_.starts_with(kByteOrderMark)) text_.erase(0, kByteOrderMark.size());
    for (std::size_t at = 0; at < text_.size();) {
        starts_.push_back(at);
        const std::size_t end = text_.find('\n', at);
        at = end == std::string::npos ? text_.size() : end + 1;
    }
}

std::string_view Source::line(int number) const {
    const auto index = static_cast<std::size_t>(number) - 1;
    const std::size_t begin = starts_.at(index);
    const std::size_t end = index + 1 < starts_.size() ? starts_[index + 1] : text_.size();
    return std::string_view(text_).substr(begin, end - begin);
}

Position Source::position(int number, std::size_t byte) const {
    return {number, static_cast<int>(count_characters(line(number).substr(0, byte))) + 1};
}

Error Source::error(const Span& where, const std::string& message, Errc code) const {
    std::string text = where.begin.line > 0
                           ? fmt::format("{}:{}:{}: {}", name_, where.begin.line, where.begin.column, message)
                           : fmt::format("{}: {}", name_, message);
    const std::string caret = render_caret(text_, where);
    if (!caret.empty()) text += "\n" + caret;
    return Error(code, std::move(text));
}

}  // namespace surcoat::recipe
