#pragma once
#include <functional>
#include <string>

namespace surcoat::overlay {

/// A name for a container that nobody named: adjective_animal, with a number behind it when the first
/// eight tries are taken.
std::string make_up_name(const std::function<bool(const std::string&)>& taken);

/// 64 random hex digits.
std::string random_id();

/// Throws Errc::invalid unless it is [A-Za-z0-9][A-Za-z0-9_.-]*, docker's rule.
void validate_container_name(const std::string& name);

}  // namespace surcoat::overlay
