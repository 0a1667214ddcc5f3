#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layers/digest.h"

namespace surcoat {

enum class FileType : std::uint8_t { regular, directory, symlink, char_device, block_device, fifo };
std::string_view to_string(FileType type);

/// Time as in struct timespec: seconds may be negative, nanoseconds count forward from them (0 … 999,999,999).
struct Timestamp {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;
    auto operator<=>(const Timestamp&) const = default;
};

/// What one inode is, without its name. Names that are hardlinks of each other share one Inode.
struct Inode {
    FileType type = FileType::regular;
    std::uint16_t mode = 0644;  ///< permission bits, setuid, setgid, sticky: 07777
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    Timestamp mtime;
    std::uint64_t size = 0;           ///< of a regular file's content
    std::optional<ObjectId> object;   ///< a regular file's content; none if size is 0
    std::string link_target;          ///< of a symlink, byte for byte
    std::uint32_t device_major = 0;
    std::uint32_t device_minor = 0;
    /// In byte order of names. Never overlayfs' own (see whiteout.h): those are refused on the way in.
    std::vector<std::pair<std::string, std::string>> xattrs;
    bool operator==(const Inode&) const = default;
};

/// One line of a layer: a change to one path.
struct Entry {
    enum class Kind : std::uint8_t {
        add,       ///< path is now `inode`; a directory over a directory replaces attributes only
        hardlink,  ///< path is another name of `target`
        whiteout,  ///< path (a lower layer's) is gone
        opaque,    ///< directory `path` hides all that lower layers have in it
    };
    Kind kind = Kind::add;
    /// Normalised: no leading or trailing '/', no "." or ".." or empty components; "" is the root.
    std::string path;
    Inode inode;         ///< for add
    std::string target;  ///< for hardlink: a normalised path in the same merged tree
    bool operator==(const Entry&) const = default;
};

/// The normalised form of a path out of an archive or a recipe: leading '/' and "./" dropped. Throws
/// Errc::invalid on "..", NUL, components over 255 bytes or more than 4,096 levels.
std::string normalise_path(std::string_view path);

/// Text out of an image for people: control characters and bytes that are no UTF-8 as "\xNN", a backslash
/// doubled; cut after 300 bytes.
std::string printable(std::string_view text);
bool is_utf8(std::string_view text);

/// Checks everything that must hold before an entry may enter a store: path form, link target not empty,
/// xattr names not overlayfs', in byte order and once each, values up to 65,535 bytes, no char device 0:0 (a
/// forged whiteout), device numbers within Linux' 12 and 20 bits, uid and gid <= 2^32-2, nanoseconds in range,
/// nothing set that the type does not have, the root a directory, no hardlink to itself. Throws Errc::invalid
/// that names the path and the rule. The inode of a hardlink, whiteout or opaque mark is not looked at.
void validate_entry(const Entry& entry);

}  // namespace surcoat
