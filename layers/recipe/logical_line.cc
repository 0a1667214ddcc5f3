#include "layers/recipe/logical_line.h"

#include <fmt/core.h>

#include <algorithm>

#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

// The first implementation reads lines into a buffer of 64 KiB; a longer one is more likely a wrong file.
constexpr std::size_t kLongestLine = 65535;

std::string_view without_break(std::string_view line) {
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

}  // namespace

void LogicalLine::append(std::string_view bytes, int line, std::size_t byte) {
    pieces_.push_back({text_.size(), bytes.size(), line, byte});
    text_ += bytes;
}

Position LogicalLine::position(std::size_t offset) const {
    if (pieces_.empty()) return {};
    const auto after =
        std::upper_bound(pieces_.begin() + 1, pieces_.end(), offset,
                         [](std::size_t value, const Piece& piece) { return value < piece.offset; });
    const Piece& piece = *std::prev(after);
    const std::size_t byte = piece.byte + std::min(offset - piece.offset, piece.size);
    // Words are asked for from left to right: count on from the last answer, or long lines cost their square.
    if (last_.line != piece.line || byte < last_byte_) {
        last_ = source_->position(piece.line, byte);
    } else {
        const std::string_view between = source_->line(piece.line).substr(last_byte_, byte - last_byte_);
        last_.column += static_cast<int>(count_characters(between));
    }
    last_byte_ = byte;
    return last_;
}

Span LogicalLine::span(std::size_t begin, std::size_t end) const {
    if (end <= begin) return {position(begin), position(begin)};
    // In this order: position() counts on from its last answer. The end is on the line of the last character,
    // not at the start of the next.
    const Position first = position(begin);
    const Position last = position(end - 1);
    return {first, {last.line, last.column + 1}};
}

Span LogicalLine::span(std::string_view part) const {
    const std::size_t begin = offset(part);
    return span(begin, begin + part.size());
}

bool LineReader::next_raw(std::string_view& line) {
    if (number_ >= source_.line_count()) return false;
    line = source_.line(++number_);
    if (line.size() > kLongestLine) {
        throw source_
            .error({{number_, 1}, {number_, 2}},
                   fmt::format("the line is {} bytes long, more than the language's {}", line.size(),
                               kLongestLine))
            .hint("continue it on the next lines, or COPY a file instead");
    }
    return true;
}

std::string_view LineReader::strip_continuation(std::string_view line, bool& continued) const {
    std::string_view head = line;
    while (head.ends_with(' ') || head.ends_with('\t')) head.remove_suffix(1);
    continued = head.ends_with(escape_);
    if (!continued) return line;
    head.remove_suffix(1);
    continued = !head.ends_with(escape_);
    return continued ? head : line;
}

bool LineReader::next(Instruction& out) {
    out = {.text = LogicalLine(source_), .comments = {}};
    std::string_view raw;
    while (next_raw(raw)) {
        const std::string_view line = trim_left(without_break(raw));
        if (line.starts_with('#')) {
            if (number_ <= last_directive_) continue;
            // A comment that is indented keeps its mark here, and so never describes anything.
            comments_.emplace_back(trim(raw.substr(1)));
            if (comments_.back().empty())
                comments_.clear();  // a bare '#' parts two comments, an empty line does not
            continue;
        }
        if (line.empty()) continue;
        out.comments = std::move(comments_);
        comments_.clear();
        out.first_line = number_;
        bool continued = false;
        const std::string_view first = strip_continuation(line, continued);
        out.text.append(first, number_, static_cast<std::size_t>(first.data() - raw.data()));
        while (continued && next_raw(raw)) {
            const std::string_view part = without_break(raw);
            if (trim_left(part).starts_with('#')) continue;
            if (trim_left(part).empty()) {
                if (!out.blank_inside) out.blank_line = number_;
                out.blank_inside = true;
                continue;
            }
            out.text.append(strip_continuation(part, continued), number_, 0);
        }
        return true;
    }
    return false;
}

}  // namespace surcoat::recipe
