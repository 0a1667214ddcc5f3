#pragma once
#include <initializer_list>
#include <map>
#include <string>

#include "layers/base/json.h"

namespace surcoat::registry {

/// What the codecs of OCI's documents share.

/// Refuses members that differ from a known one only in case: Go's decoder takes them for it, the last one
/// winning, so that two programs would read two documents. Throws Errc::invalid, also unless `json` is an
/// object.
void check_member_case(const Json& json, std::initializer_list<const char*> known);

/// A member {"name": "value", …}; empty if absent.
std::map<std::string, std::string> string_map(const Json& json, const char* member);
Json string_map_json(const std::map<std::string, std::string>& map);

}  // namespace surcoat::registry
