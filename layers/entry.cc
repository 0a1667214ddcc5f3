#include "layers/entry.h"

#include <fmt/format.h>

#include <algorithm>

#include "layers/base/error.h"
#include "layers/whiteout.h"

namespace surcoat {
namespace {

constexpr std::size_t kNameMax = 255;     // NAME_MAX
constexpr std::size_t kLevelsMax = 4096;  // a path may be longer than PATH_MAX: it is walked by descriptors
constexpr std::size_t kLinkTargetMax = 4095;  // PATH_MAX with its NUL
constexpr std::size_t kXattrNameMax = 255;    // XATTR_NAME_MAX
constexpr std::size_t kXattrValueMax =
    65535;                                  // EROFS keeps a value's length in 16 bits; Linux allows one more
constexpr std::uint32_t kMajorMax = 0xfff;  // 12 and 20 bits: Linux, include/linux/kdev_t.h
constexpr std::uint32_t kMinorMax = 0xfffff;
constexpr std::uint32_t kNobody = 0xffffffff;  // chown's "leave it as it is": no owner can have it

/// Bytes of the UTF-8 sequence at the front of `text`; 0 if there is none (RFC 3629).
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
    }
    const unsigned char second = byte(1);
    if (first == 0xe0 && second < 0xa0) return 0;  // overlong
    if (first == 0xed && second > 0x9f) return 0;  // surrogates
    if (first == 0xf0 && second < 0x90) return 0;  // overlong
    if (first == 0xf4 && second > 0x8f) return 0;  // over U+10FFFF
    return length;
}

[[noreturn]] void refuse(std::string_view path, const std::string& rule) {
    throw Error(Errc::invalid, fmt::format("'{}' cannot be part of a layer: {}", printable(path), rule));
}

/// Calls `use` with each component that is neither empty nor ".".
template <typename Use>
void for_components(std::string_view path, Use&& use) {
    while (!path.empty()) {
        const std::size_t slash = std::min(path.find('/'), path.size());
        const std::string_view name = path.substr(0, slash);
        path.remove_prefix(std::min(slash + 1, path.size()));
        if (!name.empty() && name != ".") use(name);
    }
}

/// True if `path` has the normalised form; checked without allocating, once for each entry of a layer.
bool is_normalised(std::string_view path) {
    if (path.empty()) return true;
    if (path.find('\0') != std::string_view::npos) return false;
    std::size_t levels = 0;
    for (;;) {
        const std::size_t slash = std::min(path.find('/'), path.size());
        const std::string_view name = path.substr(0, slash);
        if (name.empty() || name.size() > kNameMax || name == "." || name == ".." || ++levels > kLevelsMax)
            return false;
        if (slash == path.size()) return true;
        path.remove_prefix(slash + 1);
    }
}

void check_path(std::string_view path) {
    if (is_normalised(path)) return;
    normalise_path(path);  // says what is wrong, unless only the form is
    refuse(path, "its path is not in normal form (no leading, trailing or double '/', no '.')");
}

void check_xattrs(const Entry& entry) {
    const std::string* previous = nullptr;
    for (const auto& [name, value] : entry.inode.xattrs) {
        if (name.empty() || name.size() > kXattrNameMax || name.find('\0') != std::string::npos) {
            refuse(
                entry.path,
                fmt::format("an extended attribute's name must have 1 to {} bytes and no NUL, '{}' does not",
                            kXattrNameMax, printable(name)));
        }
        if (value.size() > kXattrValueMax) {
            refuse(entry.path,
                   fmt::format("the value of its extended attribute '{}' has {} bytes, more than {}",
                               printable(name), value.size(), kXattrValueMax));
        }
        if (is_overlay_xattr(name)) {
            refuse(entry.path,
                   fmt::format("its extended attribute '{}' belongs to overlayfs, and would forge what a "
                               "union view shows",
                               printable(name)));
        }
        if (previous != nullptr && *previous >= name) {
            refuse(entry.path,
                   fmt::format("its extended attributes are not in byte order, or '{}' is there twice",
                               printable(name)));
        }
        previous = &name;
    }
}

void check_inode(const Entry& entry) {
    const Inode& inode = entry.inode;
    if (inode.mode > 07777)
        refuse(entry.path, fmt::format("mode {:o} has more than permission bits", inode.mode));
    if (inode.uid == kNobody || inode.gid == kNobody) {
        refuse(entry.path,
               fmt::format("owner {}:{}: user and group numbers end at 4294967294", inode.uid, inode.gid));
    }
    if (inode.mtime.nanoseconds > 999'999'999) {
        refuse(entry.path, fmt::format("{} nanoseconds are more than a second", inode.mtime.nanoseconds));
    }
    if (inode.type != FileType::regular && (inode.size != 0 || inode.object)) {
        refuse(entry.path, fmt::format("a {} has no content", to_string(inode.type)));
    }
    if (inode.type == FileType::symlink) {
        if (inode.link_target.empty()) refuse(entry.path, "a symlink needs a target");
        if (inode.link_target.size() > kLinkTargetMax) {
            refuse(entry.path, fmt::format("a symlink's target has {} bytes, more than {}",
                                           inode.link_target.size(), kLinkTargetMax));
        }
        if (inode.link_target.find('\0') != std::string::npos)
            refuse(entry.path, "a NUL in a symlink's target");
    } else if (!inode.link_target.empty()) {
        refuse(entry.path, fmt::format("a {} has no link target", to_string(inode.type)));
    }
    const bool device = inode.type == FileType::char_device || inode.type == FileType::block_device;
    if (!device && (inode.device_major != 0 || inode.device_minor != 0)) {
        refuse(entry.path, fmt::format("a {} has no device number", to_string(inode.type)));
    }
    if (inode.device_major > kMajorMax || inode.device_minor > kMinorMax) {
        refuse(entry.path, fmt::format("device number {}:{} is over Linux' limit of {}:{}",
                                       inode.device_major, inode.device_minor, kMajorMax, kMinorMax));
    }
    if (inode.type == FileType::char_device && inode.device_major == 0 && inode.device_minor == 0) {
        refuse(
            entry.path,
            "a character device 0:0 is how overlayfs writes a whiteout, and an archive must not forge one");
    }
    check_xattrs(entry);
}

}  // namespace

std::string_view to_string(FileType type) {
    switch (type) {
        case FileType::regular:
            return "regular file";
        case FileType::directory:
            return "directory";
        case FileType::symlink:
            return "symlink";
        case FileType::char_device:
            return "character device";
        case FileType::block_device:
            return "block device";
        case FileType::fifo:
            return "fifo";
    }
    return "file";
}

std::string printable(std::string_view text) {
    constexpr std::size_t kShown = 300;
    std::string shown;
    const bool cut = text.size() > kShown;
    std::string_view rest = text.substr(0, kShown);
    while (!rest.empty()) {
        const unsigned char c = static_cast<unsigned char>(rest[0]);
        const std::size_t length = utf8_length(rest);
        if (length == 0 || c < 0x20 || c == 0x7f ||
            (c == 0xc2 && static_cast<unsigned char>(rest[1]) < 0xa0)) {
            shown += fmt::format("\\x{:02x}", c);
            rest.remove_prefix(1);
        } else {
            if (c == '\\') shown += '\\';
            shown.append(rest.substr(0, length));
            rest.remove_prefix(length);
        }
    }
    if (cut) shown += "...";
    return shown;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string normalise_path(std::string_view path) {
    if (path.find('\0') != std::string_view::npos) refuse(path, "a NUL in its path");
    std::string normal;
    normal.reserve(path.size());
    std::size_t levels = 0;
    for_components(path, [&](std::string_view name) {
        if (name == "..") refuse(path, "'..' in its path could lead out of the layer");
        if (name.size() > kNameMax) {
            refuse(path, fmt::format("a name of {} bytes is longer than the {} that Linux allows",
                                     name.size(), kNameMax));
        }
        if (++levels > kLevelsMax)
            refuse(path, fmt::format("more than {} levels of directories", kLevelsMax));
        if (!normal.empty()) normal += '/';
        normal += name;
    });
    return normal;
}

void validate_entry(const Entry& entry) {
    check_path(entry.path);
    switch (entry.kind) {
        case Entry::Kind::add:
            if (entry.path.empty() && entry.inode.type != FileType::directory) {
                refuse("/",
                       fmt::format("the root must be a directory, not a {}", to_string(entry.inode.type)));
            }
            check_inode(entry);
            break;
        case Entry::Kind::hardlink:
            if (entry.path.empty()) refuse("/", "the root cannot be a hardlink");
            if (entry.target.empty()) refuse(entry.path, "a hardlink needs a target");
            if (!is_normalised(entry.target)) {
                doing(fmt::format("the target of hardlink '{}'", printable(entry.path)),
                      [&] { check_path(entry.target); });
            }
            if (entry.target == entry.path) refuse(entry.path, "a hardlink to itself");
            break;
        case Entry::Kind::whiteout:
            if (entry.path.empty()) refuse("/", "a whiteout cannot hide the root");
            break;
        case Entry::Kind::opaque:
            break;
    }
}

}  // namespace surcoat
