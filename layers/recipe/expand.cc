#include "layers/recipe/expand.h"

#include <fmt/core.h>

#include <memory>

#include "layers/base/error.h"
#include "layers/recipe/characters.h"
#include "layers/recipe/glob.h"

namespace surcoat::recipe {

namespace {

constexpr char32_t kEnd = 0xffffffff;
constexpr int kDeepest = 200;  // ${a:-${b:-…}}: a recipe is not trusted with our stack

std::string escape_hint(char escape) {
    return fmt::format("write {}$ for a dollar sign that is meant literally", escape);
}

/// Collects `text` split at blanks. One buffer serves a word and all the substitutions nested in it, so that
/// `a${B:-c}` splits into "c" alone, although its text is "ac". This is what the language's first
/// implementation does and has recorded in its tables; only EXPOSE, which splits, can see it.
class Splitter {
  public:
    explicit Splitter(std::string& buffer) : buffer_(buffer) {}
    void add(std::string_view bytes, char32_t c) {
        if (!is_space(c)) {
            add_raw(bytes);
        } else if (in_word_ && !buffer_.empty()) {
            words_.push_back(std::exchange(buffer_, {}));
            in_word_ = false;
        }
    }
    void add(std::string_view text) {
        for (std::size_t i = 0; i < text.size();) {
            const Character c = decode(text, i);
            add(text.substr(i, c.size), c.value);
            i += c.size;
        }
    }
    void add_raw(std::string_view bytes) {
        buffer_ += bytes;
        in_word_ = true;
    }
    std::vector<std::string> finish() {
        if (!buffer_.empty()) words_.push_back(std::exchange(buffer_, {}));
        return std::move(words_);
    }

  private:
    std::string& buffer_;
    std::vector<std::string> words_;
    bool in_word_ = false;
};

class WordReader {
  public:
    WordReader(std::string_view word, const Expander::Lookup& lookup, char escape, const RawExpansion& how,
               Expansion& out)
        : word_(word), lookup_(lookup), escape_(static_cast<unsigned char>(escape)), how_(how), out_(out) {}

    void read() { out_.text = read_until(kEnd, how_.keep_quotes, &out_.words); }

  private:
    char32_t peek() const { return at_ < word_.size() ? decode(word_, at_).value : kEnd; }
    /// The next character's bytes, which are passed; empty at the end.
    std::string_view next() {
        if (at_ == word_.size()) return {};
        const std::size_t size = decode(word_, at_).size;
        at_ += size;
        return word_.substr(at_ - size, size);
    }

    std::string read_until(char32_t stop, bool keep_escapes, std::vector<std::string>* words) {
        std::string text;
        Splitter splitter(buffer_);
        for (char32_t c = peek(); c != kEnd; c = peek()) {
            if (c == stop) {
                next();
                splitter.finish();
                return text;
            }
            if (c == '$') {
                const std::string value = dollar();
                text += value;
                splitter.add(value);
            } else if (!how_.literal_quotes && (c == '\'' || c == '"')) {
                const std::string quoted = c == '"' ? double_quoted(keep_escapes) : single_quoted();
                text += quoted;
                splitter.add_raw(quoted);
            } else if (c == escape_) {
                const std::string_view token = next();
                if (keep_escapes) {
                    text += token;
                    splitter.add_raw(token);
                }
                const std::string_view escaped = next();  // an escape that ends the word stands for nothing
                text += escaped;
                if (!escaped.empty()) splitter.add_raw(escaped);
            } else {
                const std::string_view plain = next();
                text += plain;
                splitter.add(plain, c);
            }
        }
        if (stop != kEnd) throw unclosed(stop);
        *words = splitter.finish();
        return text;
    }

    Error unclosed(char32_t stop) const {
        return Error(Errc::invalid,
                     stop == '/'
                         ? fmt::format("'${{…/pattern/replacement}}' in '{}' has no second '/'", word_)
                         : fmt::format("'${{' in '{}' has no closing '}}'", word_))
            .hint(escape_hint(static_cast<char>(escape_)));
    }

    std::string single_quoted() {
        std::string text;
        const std::string_view quote = next();
        if (how_.keep_quotes) text += quote;
        for (;;) {
            const std::string_view c = next();
            if (c.empty()) throw unquoted('\'');
            if (c == "'") break;
            text += c;
        }
        if (how_.keep_quotes) text += quote;
        return text;
    }

    std::string double_quoted(bool keep_escapes) {
        std::string text;
        const std::string_view quote = next();
        if (how_.keep_quotes) text += quote;
        for (;;) {
            const char32_t c = peek();
            if (c == kEnd) throw unquoted('"');
            if (c == '$') {
                text += dollar();
                continue;
            }
            const std::string_view bytes = next();
            if (c == '"') break;
            if (c != escape_) {
                text += bytes;
                continue;
            }
            const char32_t escaped = peek();
            if (keep_escapes) text += bytes;
            if (escaped == kEnd) continue;
            if (escaped == '"' || escaped == '$' || escaped == escape_) {
                text += next();
            } else if (!keep_escapes) {
                text += bytes;  // before anything else the escape character is an ordinary one
            }
        }
        if (how_.keep_quotes) text += quote;
        return text;
    }

    Error unquoted(char quote) const {
        return Error(Errc::invalid,
                     fmt::format("'{}' has an opening {} without the closing one", word_, quote))
            .hint(fmt::format("close the quote, or write {}{} for a literal one", static_cast<char>(escape_),
                              quote));
    }

    /// The letters, digits and '_' of a variable's name, the digits of a positional parameter, or one special
    /// parameter (which are never set).
    std::string name() {
        std::string text;
        const char32_t first = peek();
        if (is_digit(first)) {
            while (is_digit(peek())) text += next();
            return text;
        }
        if (first < 0x80 &&
            std::string_view("@*#?-$!").find(static_cast<char>(first)) != std::string_view::npos) {
            return std::string(next());
        }
        for (char32_t c = first; is_letter(c) || is_digit(c) || c == '_'; c = peek()) text += next();
        return text;
    }

    std::optional<std::string> value_of(const std::string& variable) {
        std::optional<std::string> value = lookup_(variable);
        (value ? out_.used : out_.missing).insert(variable);
        return value;
    }

    std::string dollar() {
        next();
        if (peek() != '{') {
            const std::string variable = name();
            if (variable.empty()) return "$";
            const auto value = value_of(variable);
            return !value && how_.keep_unset ? "$" + variable : value.value_or("");
        }
        next();
        if (++depth_ > kDeepest) {
            throw Error(Errc::invalid, fmt::format("substitutions are nested more than {} deep", kDeepest))
                .hint("give the inner values names with ARG or ENV first");
        }
        std::string value = braced();
        --depth_;
        return value;
    }

    std::string braced() {
        switch (peek()) {
            case kEnd:
                throw unclosed('}');
            case '{':
            case '}':
            case ':':
                throw Error(Errc::invalid,
                            fmt::format("'{}' has a substitution without a variable's name", word_))
                    .hint(escape_hint(static_cast<char>(escape_)));
            default:
                break;
        }
        const std::string variable = name();
        std::string operation(next());
        if (operation.empty()) throw unclosed('}');
        if (operation == "}") {
            const auto value = value_of(variable);
            return !value && how_.keep_unset ? "${" + variable + "}" : value.value_or("");
        }
        if (operation == "/") return replaced(variable);
        const bool colon = operation == ":";
        if (colon) operation += next();
        const char kind = operation.back();
        const bool strips = kind == '#' || kind == '%';
        if (operation.size() != (colon ? 2U : 1U) ||
            std::string_view("-+?#%").find(kind) == std::string_view::npos || (colon && strips)) {
            throw Error(Errc::invalid,
                        fmt::format("'{}' is not a substitution that '{}' can use", operation, word_))
                .hint(
                    "known are ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?m} ${v?m} ${v#p} ${v##p} ${v%p} ${v%%p} "
                    "${v/p/r} "
                    "${v//p/r}");
        }
        std::vector<std::string> unused;
        std::string word = read_until('}', strips || how_.keep_quotes, &unused);
        const auto value = value_of(variable);
        if (!value && how_.keep_unset) return "${" + variable + operation + word + "}";
        const bool given = value && !(colon && value->empty());
        switch (kind) {
            case '-':
                return given ? *value : word;
            case '+':
                return given ? word : std::string();
            case '?':
                if (given) return *value;
                throw Error(Errc::invalid, fmt::format("variable '{}' {}", variable,
                                                       !word.empty() ? "is required: " + word
                                                       : value       ? "must not be empty"
                                                                     : "is not set"))
                    .hint(fmt::format("give it with --build-arg {0}=…, or set it with ARG or ENV above",
                                      variable));
            default:
                return stripped(value.value_or(""), kind, std::move(word));
        }
    }

    static std::string stripped(std::string value, char kind, std::string pattern) {
        const bool longest = pattern.starts_with(kind);
        if (longest) pattern.erase(0, 1);
        const VariableGlob glob(pattern);
        if (kind == '#') {
            value.erase(0, glob.prefix(value, longest).value_or(0));
        } else {
            value.resize(value.size() - glob.suffix(value, longest).value_or(0));
        }
        return value;
    }

    std::string replaced(const std::string& variable) {
        const bool all = peek() == '/';
        if (all) next();
        std::vector<std::string> unused;
        const std::string pattern = read_until('/', true, &unused);
        const std::string replacement = read_until('}', true, &unused);
        const auto found_value = value_of(variable);
        if (!found_value && how_.keep_unset) {
            return "${" + variable + (all ? "//" : "/") + pattern + "/" + replacement + "}";
        }
        const std::string& value = found_value.value_or("");
        const VariableGlob glob(pattern);
        std::string out;
        std::size_t copied = 0;
        std::size_t from = 0;
        while (from <= value.size()) {
            const auto match = glob.find(value, from);
            if (!match) break;
            const auto [begin, size] = *match;
            // Nothing is replaced right behind a match.
            if (size > 0 || begin > copied || begin == 0) {
                out += value.substr(copied, begin - copied);
                out += replacement;
                copied = begin + size;
            }
            if (!all) break;
            from = size > 0 ? begin + size : begin + (begin < value.size() ? decode(value, begin).size : 1);
        }
        return out + value.substr(copied);
    }

    std::string_view word_;
    std::size_t at_ = 0;
    const Expander::Lookup& lookup_;
    char32_t escape_;
    const RawExpansion& how_;
    Expansion& out_;
    std::string buffer_;  // Splitter's
    int depth_ = 0;
};

}  // namespace

Expansion expand_raw(std::string_view word, const Expander::Lookup& lookup, char escape,
                     const RawExpansion& how) {
    Expansion out;
    WordReader(word, lookup, escape, how, out).read();
    return out;
}

Expander::Expander(Variables variables, char escape) : escape_(escape) {
    lookup_ = [all = std::make_shared<const Variables>(std::move(variables))](
                  const std::string& name) -> std::optional<std::string> {
        const auto found = all->find(name);
        return found == all->end() ? std::nullopt : std::optional(found->second);
    };
}

Expansion Expander::expand(std::string_view word) const {
    return expand_raw(word, lookup_, escape_, {});
}

Expansion Expander::expand_body(std::string_view body) const {
    return expand_raw(body, lookup_, escape_, {.literal_quotes = true});
}

}  // namespace surcoat::recipe
