#include "layers/base/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "layers/base/error.h"

namespace surcoat {

Json::Json(const std::vector<std::string>& values) {
    Array items;
    for (const auto& value : values) items.emplace_back(value);
    value_ = std::move(items);
}

namespace {

// nlohmann's DOM keeps the last of two equal names silently; its SAX interface lets us refuse them.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit Builder(std::string_view what) : what_(what) {}
    Json result;

    bool null() override { return add(Json()); }
    bool boolean(bool value) override { return add(Json(value)); }
    bool number_integer(std::int64_t value) override { return add(Json(value)); }
    bool number_unsigned(std::uint64_t value) override {
        if (value > static_cast<std::uint64_t>(INT64_MAX)) return add(Json(static_cast<double>(value)));
        return add(Json(static_cast<std::int64_t>(value)));
    }
    bool number_float(double value, const std::string&) override { return add(Json(value)); }
    bool string(std::string& value) override { return add(Json(std::move(value))); }
    bool binary(nlohmann::json::binary_t&) override { return false; }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(std::string& name) override {
        if (!frames_.back().names.insert(name).second) {
            throw Error(Errc::invalid, fmt::format("{} has the member {} twice", what_, json_quote(name)));
        }
        frames_.back().key = std::move(name);
        return true;
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
        std::string text = e.what();
        if (const std::size_t at = text.find("] "); at != std::string::npos) text = text.substr(at + 2);
        throw Error(Errc::invalid, fmt::format("{} is not valid JSON at byte {}: {}", what_, position, text));
    }

  private:
    struct Frame {
        Json value;
        std::string key;
        std::set<std::string> names;
    };
    bool open(Json value) {
        if (frames_.size() >= 128) throw Error(Errc::invalid, fmt::format("{} is nested deeper than 128 levels", what_));
        frames_.push_back({std::move(value), {}, {}});
        return true;
    }
    bool close() {
        Json value = std::move(frames_.back().value);
        frames_.pop_back();
        return add(std::move(value));
    }
    bool add(Json value) {
        if (frames_.empty()) {
            result = std::move(value);
        } else if (frames_.back().value.is_array()) {
            frames_.back().value.push_back(std::move(value));
        } else {
            const_cast<Json::Object&>(frames_.back().value.as_object()).emplace_back(std::move(frames_.back().key), std::move(value));
        }
        return true;
    }
    std::string what_;
    std::vector<Frame> frames_;
};

}  // namespace

Json Json::parse(std::string_view text, std::string_view what) {
    if (text.substr(0, 3) == "\xEF\xBB\xBF") {
        throw Error(Errc::invalid, fmt::format("{} is not valid JSON at byte 0: it begins with a byte order mark", what));
    }
    Builder builder(what);
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return std::move(builder.result);
}

const char* Json::kind() const {
    static constexpr const char* kNames[] = {"null", "a boolean", "an integer", "a number", "a string", "an array", "an object"};
    return kNames[value_.index()];
}

bool Json::as_bool() const {
    if (const auto* v = std::get_if<bool>(&value_)) return *v;
    throw Error(Errc::invalid, fmt::format("expected a boolean, found {}", kind()));
}
std::int64_t Json::as_int() const {
    if (const auto* v = std::get_if<std::int64_t>(&value_)) return *v;
    throw Error(Errc::invalid, fmt::format("expected an integer, found {}", kind()));
}
std::uint64_t Json::as_size() const {
    const std::int64_t v = as_int();
    if (v < 0) throw Error(Errc::invalid, fmt::format("expected a size, found {}", v));
    return static_cast<std::uint64_t>(v);
}
const std::string& Json::as_string() const {
    if (const auto* v = std::get_if<std::string>(&value_)) return *v;
    throw Error(Errc::invalid, fmt::format("expected a string, found {}", kind()));
}
const Json::Array& Json::as_array() const {
    if (const auto* v = std::get_if<Array>(&value_)) return *v;
    throw Error(Errc::invalid, fmt::format("expected an array, found {}", kind()));
}
const Json::Object& Json::as_object() const {
    if (const auto* v = std::get_if<Object>(&value_)) return *v;
    throw Error(Errc::invalid, fmt::format("expected an object, found {}", kind()));
}

const Json& Json::operator[](std::string_view name) const {
    static const Json kNull;
    if (is_null()) return kNull;
    for (const auto& member : as_object()) {
        if (member.first == name) return member.second;
    }
    return kNull;
}

std::string Json::string_or(std::string_view name, std::string fallback) const {
    const Json& value = (*this)[name];
    return value.is_null() ? std::move(fallback) : doing(fmt::format("member '{}'", name), [&] { return value.as_string(); });
}
std::int64_t Json::int_or(std::string_view name, std::int64_t fallback) const {
    const Json& value = (*this)[name];
    return value.is_null() ? fallback : doing(fmt::format("member '{}'", name), [&] { return value.as_int(); });
}
bool Json::bool_or(std::string_view name, bool fallback) const {
    const Json& value = (*this)[name];
    return value.is_null() ? fallback : doing(fmt::format("member '{}'", name), [&] { return value.as_bool(); });
}
std::vector<std::string> Json::strings(std::string_view name) const {
    std::vector<std::string> all;
    const Json& value = (*this)[name];
    if (value.is_null()) return all;
    doing(fmt::format("member '{}'", name), [&] {
        for (const auto& item : value.as_array()) all.push_back(item.as_string());
    });
    return all;
}

Json& Json::set(std::string_view name, Json value) {
    if (is_null()) value_ = Object{};
    auto& members = std::get<Object>(value_);
    for (auto& member : members) {
        if (member.first == name) {
            member.second = std::move(value);
            return *this;
        }
    }
    members.emplace_back(std::string(name), std::move(value));
    return *this;
}

bool Json::empty() const {
    if (is_null()) return true;
    if (const auto* text = std::get_if<std::string>(&value_)) return text->empty();
    if (const auto* items = std::get_if<Array>(&value_)) return items->empty();
    if (const auto* members = std::get_if<Object>(&value_)) return members->empty();
    return false;
}

std::size_t Json::size() const {
    if (const auto* items = std::get_if<Array>(&value_)) return items->size();
    if (const auto* members = std::get_if<Object>(&value_)) return members->size();
    return 0;
}

Json& Json::set_if(std::string_view name, Json value) {
    if (!value.empty()) set(name, std::move(value));
    return *this;
}

void Json::push_back(Json value) {
    if (is_null()) value_ = Array{};
    std::get<Array>(value_).push_back(std::move(value));
}

std::string json_quote(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Json::write(std::string& out, int indent, int level) const {
    const auto newline = [&](int at) {
        if (indent > 0) {
            out += '\n';
            out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(at), ' ');
        }
    };
    if (is_null()) {
        out += "null";
    } else if (const auto* b = std::get_if<bool>(&value_)) {
        out += *b ? "true" : "false";
    } else if (const auto* i = std::get_if<std::int64_t>(&value_)) {
        out += fmt::format("{}", *i);
    } else if (const auto* d = std::get_if<double>(&value_)) {
        out += nlohmann::json(*d).dump();
    } else if (const auto* s = std::get_if<std::string>(&value_)) {
        out += json_quote(*s);
    } else if (const auto* items = std::get_if<Array>(&value_)) {
        out += '[';
        for (std::size_t k = 0; k < items->size(); ++k) {
            if (k != 0) out += ',';
            newline(level + 1);
            (*items)[k].write(out, indent, level + 1);
        }
        if (!items->empty()) newline(level);
        out += ']';
    } else {
        const auto& members = std::get<Object>(value_);
        out += '{';
        for (std::size_t k = 0; k < members.size(); ++k) {
            if (k != 0) out += ',';
            newline(level + 1);
            out += json_quote(members[k].first);
            out += indent > 0 ? ": " : ":";
            members[k].second.write(out, indent, level + 1);
        }
        if (!members.empty()) newline(level);
        out += '}';
    }
}

std::string Json::dump(int indent) const {
    std::string out;
    write(out, indent, 0);
    return out;
}

}  // namespace surcoat
