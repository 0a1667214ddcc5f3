#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "layers/recipe/source.h"

namespace surcoat::recipe {

/// One instruction's text: its lines joined where they are continued, comments and blank lines in between
/// left out; it remembers where each part came from. For one thread.
class LogicalLine {
  public:
    explicit LogicalLine(const Source& source) : source_(&source) {}

    /// Adds bytes of a physical line that begin at its `byte`.
    void append(std::string_view bytes, int line, std::size_t byte);

    const std::string& text() const noexcept { return text_; }
    /// `offset` may be text().size().
    Position position(std::size_t offset) const;
    Span span(std::size_t begin, std::size_t end) const;
    /// Of a view into text().
    Span span(std::string_view part) const;
    std::size_t offset(std::string_view part) const {
        return static_cast<std::size_t>(part.data() - text_.data());
    }
    const Source& source() const noexcept { return *source_; }

  private:
    struct Piece {
        std::size_t offset;  // in text_
        std::size_t size;
        int line;
        std::size_t byte;  // in that line
    };
    const Source* source_;
    std::string text_;
    std::vector<Piece> pieces_;
    mutable Position last_;  // position()'s last answer
    mutable std::size_t last_byte_ = 0;
};

/// Reads a source line by line.
class LineReader {
  public:
    LineReader(const Source& source, char escape) : source_(source), escape_(escape) {}

    struct Instruction {
        LogicalLine text;
        int first_line = 0;
        std::vector<std::string>
            comments;               ///< the comment lines above, back to the instruction before or a bare "#"
        bool blank_inside = false;  ///< an empty line among the continued ones
        int blank_line = 0;
    };
    /// The next instruction's text into `out`; false at the end. Throws Errc::invalid for a line over 64 KiB.
    bool next(Instruction& out);
    /// The next physical line, with its line break (here-documents); false at the end.
    bool next_raw(std::string_view& line);
    /// The comment lines up to this one are directives, which describe nothing.
    void skip_directives_to(int number) { last_directive_ = number; }
    /// The number of the last line that was read; 0 before the first.
    int line_number() const noexcept { return number_; }

  private:
    /// The bytes before an escape character that ends the line (blanks after it do not count), or the whole
    /// line. Two escape characters at the end are text.
    std::string_view strip_continuation(std::string_view line, bool& continued) const;

    const Source& source_;
    char escape_;
    int number_ = 0;
    int last_directive_ = 0;
    std::vector<std::string> comments_;
};

}  // namespace surcoat::recipe
