#pragma once
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/json.h"
#include "tests/support/requirements.h"

namespace surcoat::test {

/// Where one of the recorded tables lies; nothing where they are absent.
inline std::optional<std::filesystem::path> recorded(const std::string& name) {
    const auto base = vectors_directory();
    if (!base) return std::nullopt;
    return *base / "build" / name;
}

/// Why a case that only compares with the recorded tables cannot run.
inline std::optional<std::string> no_recorded(const std::string& name) {
    const auto path = recorded(name);
    if (path && std::filesystem::exists(*path)) return std::nullopt;
    return "the recorded results of other engines are not here (" + name + ", SURCOAT_SHARED)";
}

/// Calls `check` with each row of a JSONL table and returns how many there were.
inline std::size_t each_row(const std::string& name, const std::function<void(const Json&)>& check) {
    std::ifstream file(*recorded(name));
    std::size_t rows = 0;
    for (std::string line; std::getline(file, line);) {
        if (line.empty()) continue;
        check(Json::parse(line, name));
        ++rows;
    }
    return rows;
}

/// The result of `body`, or nothing if it threw Errc::invalid (or unsupported); the message goes to
/// `message`.
template <typename Body>
auto attempt(const Body& body, std::string* message = nullptr) -> std::optional<decltype(body())> {
    try {
        return body();
    } catch (const Error& e) {
        if (e.code() != Errc::invalid && e.code() != Errc::unsupported) throw;
        if (message != nullptr) *message = e.message();
        return std::nullopt;
    }
}

}  // namespace surcoat::test
