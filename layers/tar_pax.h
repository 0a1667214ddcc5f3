#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layers/entry.h"
#include "layers/tar.h"

/// Private to layers/tar_*.cc: extended headers. POSIX.1-2017 pax, "pax Extended Header"; GNU tar manual,
/// "Storing Sparse Files"; libarchive tar(5) for the SCHILY and LIBARCHIVE keys.
namespace surcoat::tar {

/// What extended headers say of the next member. A record with an empty value takes back what a global one
/// said, except for attributes, which may be empty.
struct PaxFields {
    std::optional<std::string> path;
    std::optional<std::string> link_path;
    std::optional<std::uint64_t> size;
    std::optional<std::uint64_t> uid;
    std::optional<std::uint64_t> gid;
    std::optional<Timestamp> mtime;
    std::optional<std::uint64_t> device_major;
    std::optional<std::uint64_t> device_minor;
    std::vector<std::pair<std::string, std::string>> xattrs;        ///< SCHILY.xattr.*, names sorted
    std::vector<std::pair<std::string, std::string>> plain_xattrs;  ///< LIBARCHIVE.xattr.*, decoded, sorted

    // GNU.sparse.*
    std::optional<std::string> sparse_name;
    std::optional<std::uint64_t> sparse_major;
    std::optional<std::uint64_t> sparse_minor;
    std::optional<std::uint64_t> sparse_size;  ///< GNU.sparse.size or .realsize
    std::optional<std::uint64_t> sparse_count;
    std::optional<std::vector<Extent>> sparse_map;  ///< of 0.1, or collected from 0.0's pairs
    bool sparse_offset_open = false;                ///< 0.0: an offset whose numbytes has not come yet

    bool is_sparse() const { return sparse_map || sparse_major || sparse_minor || sparse_count; }
};

enum class PaxScope { next_member, global };

/// Adds an extended header's records. Returns what is wrong, or nothing. ACLs as text (SCHILY.acl.*) are not
/// turned into attributes: they name users that only the image's own passwd knows. Unknown keys are ignored.
/// A global header may not set path, linkpath, size or a sparse map, since readers disagree on what that
/// means, nor attributes, which a few bytes would then copy to millions of members.
std::optional<std::string> parse_pax(std::string_view records, PaxScope scope, PaxFields& fields);

/// "length key=value\n".
std::string pax_record(std::string_view key, std::string_view value);
/// Seconds with up to nine decimals, as short as possible; negative times as "-2.5".
std::string pax_time(Timestamp time);
/// Nothing if `text` is no decimal number or out of range. Decimals past the ninth are dropped.
std::optional<Timestamp> parse_pax_time(std::string_view text);
/// "LIBARCHIVE.xattr." with the name percent-encoded, for names with '=', which SCHILY's keys cannot have.
std::string libarchive_xattr_record(std::string_view name, std::string_view value);

/// Digits only, at most 63 bits.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

}  // namespace surcoat::tar
