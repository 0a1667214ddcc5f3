#include "layers/recipe/words.h"

#include <algorithm>

#include "layers/base/error.h"
#include "layers/base/json.h"
#include "layers/recipe/characters.h"

namespace surcoat::recipe {

namespace {

constexpr std::string_view kBlanks = "\t\v\f\r ";

bool is_space_byte(char c) {
    return is_space(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 0x80;
}

}  // namespace

Head split_head(std::string_view text) {
    const std::size_t end = text.find_first_of(kBlanks);
    if (end == std::string_view::npos) return {text, text.substr(text.size()), false};
    const std::size_t next = std::min(text.find_first_not_of(kBlanks, end), text.size());
    return {text.substr(0, end), text.substr(next), true};
}

std::vector<Piece> split_blanks(std::string_view text) {
    std::vector<Piece> out;
    if (text.empty()) return out;
    for (Head head = split_head(text);; head = split_head(head.rest)) {
        out.push_back({std::string(head.first), head.first});
        if (!head.has_rest) return out;
    }
}

Flags split_flags(std::string_view text) {
    Flags out{{}, text.substr(text.size())};
    std::size_t at = 0;
    for (;;) {
        while (at < text.size() && is_space_byte(text[at])) ++at;
        if (text.compare(at, 2, "--") != 0) {
            out.rest = text.substr(at);
            return out;
        }
        const std::size_t begin = at;
        std::string word;
        char quote = '\0';
        for (; at < text.size() && (quote != '\0' || !is_space_byte(text[at])); ++at) {
            char c = text[at];
            if (quote != '\0' ? c == quote : c == '\'' || c == '"') {
                quote = quote != '\0' ? '\0' : c;
                continue;
            }
            if (c == '\\') {
                if (at + 1 == text.size()) continue;
                c = text[++at];
            }
            word += c;
        }
        if (word == "--") {
            out.rest = text.substr(at);
            return out;
        }
        out.flags.push_back({std::move(word), text.substr(begin, at - begin)});
    }
}

std::vector<Piece> split_quoted(std::string_view text, char escape) {
    std::vector<Piece> out;
    std::size_t at = 0;
    for (;;) {
        for (; at < text.size(); at += decode(text, at).size) {
            if (!is_space(decode(text, at).value)) break;
        }
        if (at == text.size()) return out;
        const std::size_t begin = at;
        std::string word;
        bool quoted = false;
        char quote = '\0';
        while (at < text.size()) {
            const Character c = decode(text, at);
            if (quote == '\0' && is_space(c.value)) break;
            const char byte = text[at];
            if (byte == escape && quote != '\'') {
                if (at + 1 == text.size()) {  // an escape that ends the line stands for nothing
                    ++at;
                    break;
                }
                word += byte;
                ++at;
                const std::size_t size = decode(text, at).size;
                word += text.substr(at, size);
                at += size;
                continue;
            }
            if (quote != '\0') {
                if (byte == quote) quote = '\0';
            } else if (byte == '\'' || byte == '"') {
                quote = byte;
                quoted = true;
            }
            word += text.substr(at, c.size);
            at += c.size;
        }
        if (quoted || !word.empty()) out.push_back({std::move(word), text.substr(begin, at - begin)});
    }
}

std::optional<std::vector<Piece>> parse_json_form(std::string_view text) {
    text = trim_left(text);
    if (!text.starts_with('[')) return std::nullopt;
    const std::string valid = make_valid_utf8(text);
    Json array;
    try {
        array = Json::parse(valid, "the JSON form");
    } catch (const Error&) { return std::nullopt; }
    std::vector<Piece> out;
    std::size_t at = 0;
    for (const Json& item : array.as_array()) {
        if (!item.is_string()) {
            throw Error(Errc::invalid, "the JSON form of an instruction is an array of strings only")
                .hint("put every word in double quotes: [\"sh\", \"-c\", \"exit 1\"]");
        }
        const std::size_t begin = text.find('"', at);
        at = begin + 1;
        while (text[at] != '"') at += text[at] == '\\' ? 2 : 1;
        ++at;
        out.push_back({item.as_string(), text.substr(begin, at - begin)});
    }
    return out;
}

}  // namespace surcoat::recipe
