#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "layers/base/error.h"

namespace surcoat::recipe {

/// A place in a text file. Both count from 1; columns count characters (code points), not bytes.
struct Position {
    int line = 0;
    int column = 0;
    auto operator<=>(const Position&) const = default;
};

/// From the first character to just after the last one. It may run over several lines.
struct Span {
    Position begin;
    Position end;
    bool operator==(const Span&) const = default;
};

/// A word of a recipe as written (quotes resolved only where the instruction's own syntax does so,
/// variables never), and where it stands.
struct Word {
    std::string text;
    Span where;
};

/// A text file that diagnostics can point into. A byte order mark at its beginning is not part of it.
class Source {
  public:
    Source() = default;
    /// `name` is how messages call it ("Dockerfile", "app/Surcoatfile", "<stdin>").
    Source(std::string name, std::string text);

    const std::string& name() const noexcept { return name_; }
    const std::string& text() const noexcept { return text_; }
    int line_count() const noexcept { return static_cast<int>(starts_.size()); }
    /// One line with its line break, if it has one. `number` counts from 1 to line_count().
    std::string_view line(int number) const;
    /// The position of a byte of a line; `byte` may be just after the last one.
    Position position(int number, std::size_t byte) const;

    /// Errc::invalid, "Dockerfile:12:5: message", then the line and a caret under the span.
    [[nodiscard]] Error error(const Span& where, const std::string& message, Errc code = Errc::invalid) const;

  private:
    std::string name_;
    std::string text_;
    std::vector<std::size_t> starts_;  // of each line
};

}  // namespace surcoat::recipe
