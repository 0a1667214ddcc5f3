#pragma once
#include <string>
#include <vector>

namespace surcoat {

/// Named places where a test can stop or fail the program, as a crash or a full disk would.
/// `SURCOAT_FAULT=name[:nth]=kill|error|enospc` in the environment arms one: at its nth visit (default 1)
/// the process kills itself with SIGKILL, throws Errc::failed, or throws Errc::no_space.
/// `SURCOAT_FAULT_TRACE=FILE` appends the name of each point when it is first visited.
/// Costs one relaxed load when neither is set. Names read `area.moment`, e.g. "publish.before_commit".
void fault_point(const char* name);

/// Reads the environment again: for a forked child that a test arms. Only while no other thread runs.
void reread_fault_plan();

/// Every name that the source uses, for tests that go through all of them. Kept by hand in fault.cc;
/// a test compares it with the source.
const std::vector<std::string>& fault_point_names();

}  // namespace surcoat
