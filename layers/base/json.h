#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace surcoat {

/// A JSON value that keeps the order of members. The parser is for documents from outside: it refuses
/// duplicate names (I-JSON, RFC 7493 section 2.3), bytes that are not UTF-8, depth over 128, and anything
/// after the value; integers that do not fit int64 become doubles. Absent and null read alike.
class Json {
  public:
    using Array = std::vector<Json>;
    using Member = std::pair<std::string, Json>;
    using Object = std::vector<Member>;

    Json() = default;
    Json(std::nullptr_t) {}
    Json(bool value) : value_(value) {}
    Json(int value) : value_(std::int64_t{value}) {}
    Json(unsigned value) : value_(std::int64_t{value}) {}
    Json(std::int64_t value) : value_(value) {}
    Json(std::uint64_t value) : value_(static_cast<std::int64_t>(value)) {}
    Json(double value) : value_(value) {}
    Json(const char* value) : value_(std::string(value)) {}
    Json(std::string_view value) : value_(std::string(value)) {}
    Json(std::string value) : value_(std::move(value)) {}
    Json(const std::vector<std::string>& values);
    static Json array(Array items = {}) { Json j; j.value_ = std::move(items); return j; }
    static Json object(Object members = {}) { Json j; j.value_ = std::move(members); return j; }

    /// Throws Errc::invalid with what and at which byte; `what` names the document.
    static Json parse(std::string_view text, std::string_view what);

    bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
    bool is_bool() const { return std::holds_alternative<bool>(value_); }
    bool is_int() const { return std::holds_alternative<std::int64_t>(value_); }
    bool is_double() const { return std::holds_alternative<double>(value_); }
    bool is_string() const { return std::holds_alternative<std::string>(value_); }
    bool is_array() const { return std::holds_alternative<Array>(value_); }
    bool is_object() const { return std::holds_alternative<Object>(value_); }

    /// Each throws Errc::invalid, saying what was found instead, if the value is of another kind.
    bool as_bool() const;
    std::int64_t as_int() const;
    const std::string& as_string() const;
    const Array& as_array() const;
    const Object& as_object() const;
    /// An integer that must not be negative.
    std::uint64_t as_size() const;

    /// Member of an object, null if absent (or if this is null). Throws if this is another kind.
    const Json& operator[](std::string_view name) const;
    bool contains(std::string_view name) const { return !(*this)[name].is_null(); }
    /// With a default for null or absent.
    std::string string_or(std::string_view name, std::string fallback = {}) const;
    std::int64_t int_or(std::string_view name, std::int64_t fallback) const;
    bool bool_or(std::string_view name, bool fallback) const;
    /// [] if absent; throws unless all are strings.
    std::vector<std::string> strings(std::string_view name) const;

    /// Sets or replaces a member (of an object, or of null, which becomes an object). Returns *this.
    Json& set(std::string_view name, Json value);
    /// The same unless the value is null, "", [] or {}: Go's `omitempty`, as OCI documents are written.
    Json& set_if(std::string_view name, Json value);
    void push_back(Json value);
    bool empty() const;
    std::size_t size() const;

    /// Compact, members in their order, no trailing newline; non-ASCII is written as is. indent > 0: pretty.
    std::string dump(int indent = 0) const;
    bool operator==(const Json&) const = default;

  private:
    void write(std::string& out, int indent, int level) const;
    const char* kind() const;
    std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

/// As a JSON string literal, quotes included; bytes that are not UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);

}  // namespace surcoat
