#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace surcoat {

/// What a long job tells whoever watches. cmd/ draws it; a test records it; by default nobody listens.
/// Calls may come from any thread.
class Progress {
  public:
    virtual ~Progress() = default;
    /// `total_bytes` 0: unknown. Repeated calls with the same `what` move one line on.
    virtual void bytes(std::string_view /*what*/, std::uint64_t /*done_bytes*/, std::uint64_t /*total_bytes*/) {}
    /// One finished fact worth a line.
    virtual void note(std::string_view /*text*/) {}
    /// Something the user should know although the job goes on.
    virtual void warning(std::string_view /*text*/) {}
};

/// Listens to nothing.
inline Progress& no_progress() {
    static Progress none;
    return none;
}

}  // namespace surcoat
