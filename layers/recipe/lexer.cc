#include "layers/recipe/lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "layers/recipe/characters.h"
#include "layers/recipe/logical_line.h"
#include "layers/recipe/words.h"

namespace surcoat::recipe {

namespace {

/// How an instruction's text after the flags becomes arguments.
enum class Form {
    json_or_text,   ///< one argument, or the strings of a JSON array
    json_or_words,  ///< words between blanks, or the strings of a JSON array
    words,
    text,
    pairs,         ///< name=value …, or NAME rest of the line
    quoted_words,  ///< name or name=value, …
    healthcheck,   ///< a word, then as json_or_text
    instruction,   ///< ONBUILD
};

const std::map<std::string, Form>& forms() {
    static const std::map<std::string, Form> table = {
        {"ADD", Form::json_or_words},
        {"ARG", Form::quoted_words},
        {"CMD", Form::json_or_text},
        {"COPY", Form::json_or_words},
        {"ENTRYPOINT", Form::json_or_text},
        {"ENV", Form::pairs},
        {"EXPOSE", Form::words},
        {"FROM", Form::words},
        {"HEALTHCHECK", Form::healthcheck},
        {"LABEL", Form::pairs},
        {"MAINTAINER", Form::text},
        {"ONBUILD", Form::instruction},
        {"RUN", Form::json_or_text},
        {"SHELL", Form::json_or_text},
        {"STOPSIGNAL", Form::text},
        {"USER", Form::text},
        {"VOLUME", Form::json_or_words},
        {"WORKDIR", Form::text},
    };
    return table;
}

class InstructionReader {
  public:
    InstructionReader(const LogicalLine& line, char escape, int depth = 0)
        : line_(line), escape_(escape), depth_(depth) {}

    Instruction read(std::string_view text) {
        const std::string_view trimmed = trim(text);
        const Head head = split_head(trimmed);
        Instruction out;
        out.keyword = std::string(head.first);
        out.keyword_at = line_.span(head.first);
        out.original = std::string(text);
        std::string_view rest = head.rest;
        if (head.has_rest) {
            Flags flags = split_flags(rest);
            for (Piece& flag : flags.flags) out.flags.push_back(word(std::move(flag)));
            rest = trim(flags.rest);
        }
        out.where = line_.span(trimmed);
        read_arguments(rest, out);
        return out;
    }

  private:
    Word word(Piece piece) const { return {std::move(piece.text), line_.span(piece.written)}; }
    Word word(std::string_view written) const { return {std::string(written), line_.span(written)}; }
    void add(std::vector<Piece> pieces, Instruction& out) const {
        for (Piece& piece : pieces) out.arguments.push_back(word(std::move(piece)));
    }

    void read_arguments(std::string_view rest, Instruction& out) const {
        const auto form = forms().find(ascii_upper(out.keyword));
        if (form == forms().end()) {
            out.arguments.push_back({"", line_.span(rest)});
            return;
        }
        if (rest.empty()) return;
        switch (form->second) {
            case Form::json_or_text:
                json_or_text(rest, out);
                break;
            case Form::json_or_words:
                if (!json(rest, out)) add(split_blanks(rest), out);
                break;
            case Form::words:
                add(split_blanks(rest), out);
                break;
            case Form::text:
                out.arguments.push_back(word(rest));
                break;
            case Form::pairs:
                pairs(rest, out);
                break;
            case Form::quoted_words:
                add(split_quoted(rest, escape_), out);
                break;
            case Form::healthcheck: {
                const Head head = split_head(rest);
                out.arguments.push_back(word(head.first));
                if (!head.rest.empty()) json_or_text(head.rest, out);
                break;
            }
            case Form::instruction:
                if (depth_ == kDeepest) {
                    throw line_.source()
                        .error(out.keyword_at, "ONBUILD stands inside ONBUILD")
                        .hint("keep one of them");
                }
                out.trigger.push_back(InstructionReader(line_, escape_, depth_ + 1).read(rest));
                break;
        }
    }

    bool json(std::string_view rest, Instruction& out) const {
        std::optional<std::vector<Piece>> strings;
        try {
            strings = parse_json_form(rest);
        } catch (const Error& e) { throw line_.source().error(line_.span(rest), e.message()).hint(e.hint()); }
        if (!strings) return false;
        out.json = true;
        add(std::move(*strings), out);
        return true;
    }

    void json_or_text(std::string_view rest, Instruction& out) const {
        if (!json(rest, out)) out.arguments.push_back(word(rest));
    }

    void pairs(std::string_view rest, Instruction& out) const {
        const std::string keyword = ascii_upper(out.keyword);
        std::vector<Piece> words = split_quoted(rest, escape_);
        if (words.empty()) return;
        if (words[0].text.find('=') == std::string::npos) {
            const Head head = split_head(rest);
            if (!head.has_rest) {
                throw line_.source()
                    .error(line_.span(rest), fmt::format("{} '{}' has no value", keyword, rest))
                    .hint(fmt::format("write {} {}=value", keyword, rest));
            }
            out.arguments.push_back(word(head.first));
            out.arguments.push_back(word(head.rest));
            out.arguments.push_back({"", line_.span(head.first)});
            return;
        }
        for (const Piece& piece : words) {
            const std::size_t equals = piece.text.find('=');
            if (equals == std::string::npos) {
                throw line_.source()
                    .error(line_.span(piece.written),
                           fmt::format("'{}' in {} has no '='", piece.text, keyword))
                    .hint("every word must be name=value; put a value with blanks in quotes");
            }
            // The first '=' of the meaning is the first one that is written: quotes and escapes stay in both.
            const std::size_t written = std::min(piece.written.find('='), piece.written.size() - 1);
            out.arguments.push_back(
                {piece.text.substr(0, equals), line_.span(piece.written.substr(0, written))});
            out.arguments.push_back(
                {piece.text.substr(equals + 1), line_.span(piece.written.substr(written + 1))});
            out.arguments.push_back({"=", line_.span(piece.written.substr(written, 1))});
        }
    }

    static constexpr int kDeepest = 8;  // of ONBUILD ONBUILD …, which parse.h refuses, but by then it is read

    const LogicalLine& line_;
    char escape_;
    int depth_;
};

bool takes_heredocs(const Instruction& instruction) {
    const Instruction& inner = instruction.trigger.empty() ? instruction : instruction.trigger[0];
    const std::string keyword = ascii_upper(inner.keyword);
    return !inner.json && (keyword == "RUN" || keyword == "COPY" || keyword == "ADD");
}

void read_bodies(LineReader& lines, const Source& source, Instruction& instruction, const LogicalLine& text) {
    instruction.heredocs = heredocs_of(text.text());
    for (Heredoc& heredoc : instruction.heredocs) {
        bool ended = false;
        std::string_view line;
        while (!ended && lines.next_raw(line)) {
            std::string_view candidate = line;
            while (candidate.ends_with('\n') || candidate.ends_with('\r')) candidate.remove_suffix(1);
            while (heredoc.strip_tabs && candidate.starts_with('\t')) candidate.remove_prefix(1);
            ended = candidate == heredoc.name;
            if (!ended) heredoc.content += line;
        }
        if (!ended) {
            const std::size_t at = std::min(text.text().find("<<"), text.text().size());
            throw source
                .error(text.span(at, std::min(at + 2 + heredoc.name.size(), text.text().size())),
                       fmt::format("the here-document '{}' has no end", heredoc.name))
                .hint(fmt::format("put a line that is only '{}' behind it{}", heredoc.name,
                                  heredoc.strip_tabs ? "" : " (no blanks before or after)"));
        }
        const std::string_view last = source.line(lines.line_number());
        std::size_t size = last.size();
        while (size > 0 && (last[size - 1] == '\n' || last[size - 1] == '\r')) --size;
        instruction.where.end = source.position(lines.line_number(), size);
    }
}

/// A Go string literal, as the language's recorded dumps have them.
std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (std::size_t i = 0; i < text.size();) {
        const Character c = decode(text, i);
        const std::string_view bytes = text.substr(i, c.size);
        i += c.size;
        static constexpr std::string_view kNamed = "\a\b\f\n\r\t\v\\\"";
        static constexpr std::string_view kNames = "abfnrtv\\\"";
        const std::size_t named =
            c.value < 0x80 ? kNamed.find(static_cast<char>(c.value)) : std::string_view::npos;
        if (named != std::string_view::npos) {
            out += '\\';
            out += kNames[named];
        } else if (c.value < 0x20 || c.value == 0x7f || (c.value == kInvalidCharacter && c.size == 1)) {
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[0]));
        } else if ((c.value >= 0x80 && c.value < 0xa1) || c.value == 0xad || c.value == 0xfeff ||
                   (c.value > 0x80 && is_space(c.value))) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c.value));
        } else {
            out += bytes;
        }
    }
    return out + '"';
}

}  // namespace

const std::vector<std::string>& instruction_keywords() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> out;
        for (const auto& [name, form] : forms()) out.push_back(name);
        return out;
    }();
    return names;
}

Ast lex(const Source& source) {
    Ast ast;
    ast.directives = read_directives(source);
    ast.escape = escape_character(source, ast.directives);
    LineReader lines(source, ast.escape);
    for (const Directive& directive : ast.directives) lines.skip_directives_to(directive.where.begin.line);
    LineReader::Instruction line{LogicalLine(source), 0, {}, false, 0};
    while (lines.next(line)) {
        Instruction instruction = InstructionReader(line.text, ast.escape).read(line.text.text());
        instruction.comments = std::move(line.comments);
        if (instruction.where.begin.line != line.first_line) instruction.where.begin = {line.first_line, 1};
        instruction.where.end = std::max(instruction.where.end, Position{lines.line_number(), 1});
        if (line.blank_inside) {
            ast.warnings.push_back({"NoEmptyContinuation",
                                    fmt::format("empty line inside the {} instruction of line {}",
                                                ascii_upper(instruction.keyword), line.first_line),
                                    {{line.blank_line, 1}, {line.blank_line, 1}}});
        }
        if (takes_heredocs(instruction)) read_bodies(lines, source, instruction, line.text);
        ast.instructions.push_back(std::move(instruction));
    }
    if (ast.instructions.empty()) {
        // The file's end is where an instruction is missing.
        const Position end{source.line_count(), 1};
        throw source
            .error({end, end}, source.text().empty() ? "the recipe is empty" : "the recipe has no instructions")
            .hint("begin it with FROM and the name of a base image");
    }
    return ast;
}

std::string Instruction::dump() const {
    std::string out = ascii_lower(keyword);
    if (!flags.empty()) {
        out += " [";
        for (std::size_t i = 0; i < flags.size(); ++i) out += (i > 0 ? " " : "") + quoted(flags[i].text);
        out += "]";
    }
    for (const Instruction& inner : trigger) out += " (" + inner.dump() + ")";
    for (const Word& argument : arguments) out += (out.empty() ? "" : " ") + quoted(argument.text);
    return out;
}

std::string Ast::dump() const {
    std::string out;
    for (const Instruction& instruction : instructions) {
        if (!out.empty()) out += '\n';
        out += "(" + instruction.dump() + ")";
    }
    return out;
}

}  // namespace surcoat::recipe
