#include "layers/tar_pax.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace surcoat::tar {
namespace {

using Xattrs = std::vector<std::pair<std::string, std::string>>;
using Fault = std::optional<std::string>;

constexpr std::string_view kSchily = "SCHILY.xattr.";
constexpr std::string_view kLibarchive = "LIBARCHIVE.xattr.";
constexpr std::string_view kSparse = "GNU.sparse.";

/// Sorted, each name once, the last one said. Done at the end: inserting in order would be quadratic in what
/// a hostile header may hold.
void settle(Xattrs& xattrs) {
    const auto by_name = [](const auto& a, const auto& b) { return a.first < b.first; };
    std::stable_sort(xattrs.begin(), xattrs.end(), by_name);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < xattrs.size(); ++i) {
        if (i + 1 < xattrs.size() && xattrs[i].first == xattrs[i + 1].first) continue;
        if (kept != i) xattrs[kept] = std::move(xattrs[i]);
        ++kept;
    }
    xattrs.resize(kept);
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// A '%' that two hex digits do not follow stands for itself.
std::string percent_decode(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
            hex_digit(text[i + 2]) >= 0) {
            plain += static_cast<char>(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
            i += 2;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With or without '=' at the end (libarchive writes none).
std::optional<std::string> base64_decode(std::string_view text) {
    static const std::array<signed char, 256> kValues = [] {
        std::array<signed char, 256> values{};
        values.fill(-1);
        for (std::size_t i = 0; i < kBase64.size(); ++i) {
            values[static_cast<unsigned char>(kBase64[i])] = static_cast<signed char>(i);
        }
        return values;
    }();
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
    if (text.size() % 4 == 1) return std::nullopt;
    std::string plain;
    plain.reserve(text.size() / 4 * 3 + 2);
    std::uint32_t bits = 0;
    int count = 0;
    for (const char c : text) {
        const int value = kValues[static_cast<unsigned char>(c)];
        if (value < 0) return std::nullopt;
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        if ((count += 6) >= 8) plain += static_cast<char>(bits >> (count -= 8) & 0xff);
    }
    return plain;
}

std::string base64_encode(std::string_view plain) {
    std::string text;
    std::uint32_t bits = 0;
    int count = 0;
    for (const char c : plain) {
        bits = bits << 8 | static_cast<unsigned char>(c);
        for (count += 8; count >= 6;) text += kBase64[bits >> (count -= 6) & 63];
    }
    if (count != 0) text += kBase64[bits << (6 - count) & 63];
    return text;
}

Fault set_number(std::optional<std::uint64_t>& field, std::string_view key, std::string_view value) {
    if (value.empty()) {
        field.reset();
        return {};
    }
    field = parse_decimal(value);
    if (!field)
        return fmt::format("the extended header's {} '{}' is no number from 0 to 2^63-1", key,
                           printable(value));
    return {};
}

Fault set_name(std::optional<std::string>& field, std::string_view key, std::string_view value) {
    if (value.find('\0') != std::string_view::npos)
        return fmt::format("a NUL in the extended header's {}", key);
    if (value.empty()) {
        field.reset();
    } else {
        field = value;
    }
    return {};
}

/// GNU.sparse.map: "offset,size,offset,size…"
Fault parse_map(std::string_view text, PaxFields& fields) {
    std::vector<Extent> map;
    std::size_t numbers = 0;
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        const auto number = parse_decimal(text.substr(0, comma));
        if (!number || comma + 1 == text.size()) return "the sparse map is no list of numbers";
        text.remove_prefix(std::min(comma + 1, text.size()));
        if (numbers++ % 2 == 0) {
            map.push_back({*number, 0});
        } else {
            map.back().size = *number;
        }
    }
    if (numbers % 2 != 0) return "the sparse map ends behind an offset";
    fields.sparse_map = std::move(map);
    return {};
}

Fault set_sparse(std::string_view key, std::string_view value, PaxFields& fields) {
    const std::string_view name = key.substr(kSparse.size());
    if (name == "name") return set_name(fields.sparse_name, key, value);
    if (name == "major") return set_number(fields.sparse_major, key, value);
    if (name == "minor") return set_number(fields.sparse_minor, key, value);
    if (name == "size" || name == "realsize") return set_number(fields.sparse_size, key, value);
    if (name == "numblocks") return set_number(fields.sparse_count, key, value);
    if (name == "map") return parse_map(value, fields);
    // Version 0.0: the same two keys again and again, in pairs.
    std::optional<std::uint64_t> number;
    if (auto fault = set_number(number, key, value)) return fault;
    if (!number) return fmt::format("an empty {}", key);
    if (!fields.sparse_map) fields.sparse_map.emplace();
    if (name == "offset") {
        if (fields.sparse_offset_open) return "two GNU.sparse.offset in a row";
        fields.sparse_map->push_back({*number, 0});
        fields.sparse_offset_open = true;
    } else if (name == "numbytes") {
        if (!fields.sparse_offset_open) return "a GNU.sparse.numbytes without its offset";
        fields.sparse_map->back().size = *number;
        fields.sparse_offset_open = false;
    } else {
        return fmt::format("an unknown key '{}' for a sparse file", printable(key));
    }
    return {};
}

Fault set_field(std::string_view key, std::string_view value, PaxScope scope, PaxFields& fields) {
    if (scope == PaxScope::global &&
        (key == "path" || key == "linkpath" || key == "size" || key.starts_with(kSparse) ||
         key.starts_with(kSchily) || key.starts_with(kLibarchive))) {
        return fmt::format("a global extended header sets {}, which only makes sense for one member",
                           printable(key));
    }
    if (key == "path") return set_name(fields.path, key, value);
    if (key == "linkpath") return set_name(fields.link_path, key, value);
    if (key == "size") return set_number(fields.size, key, value);
    if (key == "uid") return set_number(fields.uid, key, value);
    if (key == "gid") return set_number(fields.gid, key, value);
    if (key == "SCHILY.devmajor") return set_number(fields.device_major, key, value);
    if (key == "SCHILY.devminor") return set_number(fields.device_minor, key, value);
    if (key == "mtime") {
        if (value.empty()) {
            fields.mtime.reset();
            return {};
        }
        fields.mtime = parse_pax_time(value);
        if (!fields.mtime)
            return fmt::format("the extended header's mtime '{}' is no time", printable(value));
        return {};
    }
    if (key.starts_with(kSchily)) {
        fields.xattrs.emplace_back(key.substr(kSchily.size()), value);
        return {};
    }
    if (key.starts_with(kLibarchive)) {
        const auto plain = base64_decode(value);
        if (!plain) return fmt::format("the value of {} is no base64", printable(key));
        std::string name = percent_decode(key.substr(kLibarchive.size()));
        if (name.find('\0') != std::string::npos)
            return fmt::format("a NUL in the attribute's name {}", printable(key));
        fields.plain_xattrs.emplace_back(std::move(name), *plain);
        return {};
    }
    if (key.starts_with(kSparse)) return set_sparse(key, value, fields);
    return {};
}

}  // namespace

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
    if (text.empty()) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') return std::nullopt;
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (value > (INT64_MAX - digit) / 10) return std::nullopt;
        value = value * 10 + digit;
    }
    return value;
}

std::optional<std::string> parse_pax(std::string_view records, PaxScope scope, PaxFields& fields) {
    while (!records.empty()) {
        const std::size_t space = records.substr(0, 20).find(' ');
        const auto length =
            space == std::string_view::npos ? std::nullopt : parse_decimal(records.substr(0, space));
        if (!length) return "an extended header's record does not begin with its length";
        if (*length > records.size()) return "an extended header's record is longer than the header";
        // The shortest record has a key of one byte: "5 a=\n".
        if (*length < space + 4 || records[*length - 1] != '\n') {
            return "an extended header's record does not end where its length says";
        }
        const std::string_view record = records.substr(space + 1, *length - space - 2);
        const std::size_t equals = record.find('=');
        if (equals == std::string_view::npos || equals == 0) return "an extended header's record has no key";
        const std::string_view key = record.substr(0, equals);
        if (key.find('\0') != std::string_view::npos) return "a NUL in an extended header's key";
        if (auto fault = set_field(key, record.substr(equals + 1), scope, fields)) return fault;
        records.remove_prefix(*length);
    }
    if (fields.sparse_offset_open) return "a GNU.sparse.offset without its numbytes";
    settle(fields.xattrs);
    settle(fields.plain_xattrs);
    return {};
}

std::string pax_record(std::string_view key, std::string_view value) {
    const std::size_t rest = key.size() + value.size() + 3;  // ' ', '=' and the newline
    // The length counts its own digits, so it may grow by writing it.
    std::size_t length = rest + 1;
    while (length != rest + std::to_string(length).size()) length = rest + std::to_string(length).size();
    std::string record;
    record.reserve(length);
    record += std::to_string(length);
    record += ' ';
    record += key;
    record += '=';
    record += value;
    record += '\n';
    return record;
}

std::string pax_time(Timestamp time) {
    // Timestamps count nanoseconds forward: -2.5 s is {-3, 500'000'000}.
    const bool negative = time.seconds < 0;
    std::uint64_t whole = static_cast<std::uint64_t>(time.seconds);
    std::uint32_t fraction = time.nanoseconds;
    if (negative) {
        whole = -whole;
        if (fraction != 0) {
            --whole;
            fraction = 1'000'000'000 - fraction;
        }
    }
    std::string text = fmt::format("{}{}", negative ? "-" : "", whole);
    if (fraction != 0) {
        text += fmt::format(".{:09}", fraction);
        while (text.back() == '0') text.pop_back();
    }
    return text;
}

std::optional<Timestamp> parse_pax_time(std::string_view text) {
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    const std::size_t point = std::min(text.find('.'), text.size());
    const auto whole = parse_decimal(text.substr(0, point));
    if (!whole) return std::nullopt;
    std::uint32_t fraction = 0;
    std::size_t digits = 0;
    for (const char c : text.substr(std::min(point + 1, text.size()))) {
        if (c < '0' || c > '9') return std::nullopt;
        if (digits++ < 9) fraction = fraction * 10 + static_cast<std::uint32_t>(c - '0');
    }
    for (; digits < 9; ++digits) fraction *= 10;
    Timestamp time{static_cast<std::int64_t>(*whole), fraction};
    if (negative) {
        time.seconds = -time.seconds;
        if (fraction != 0) {
            time.seconds -= 1;
            time.nanoseconds = 1'000'000'000 - fraction;
        }
    }
    return time;
}

std::string libarchive_xattr_record(std::string_view name, std::string_view value) {
    std::string key(kLibarchive);
    for (const char c : name) {
        if (c == '%' || c == '=' || c < 0x21 || c > 0x7e) {
            key += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        } else {
            key += c;
        }
    }
    return pax_record(key, base64_encode(value));
}

}  // namespace surcoat::tar
