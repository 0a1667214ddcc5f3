#pragma once
#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>

namespace surcoat {

/// The only file that knows how "this name is gone" is written: in OCI archives (image-spec layer.md,
/// "Whiteouts") and in overlayfs uppers (Documentation/filesystems/overlayfs.rst).

/// What an archive member's name means.
struct OciWhiteout {
    enum class Kind { none, entry, opaque } kind = Kind::none;
    std::string path;  ///< entry: the hidden path; opaque: the directory; none: the given path
};
/// `path` is normalised. Throws Errc::corrupt for ".wh." with nothing behind it, and for names that would
/// hide "." or "..". Names such as ".wh..wh.plnk" (AUFS' own) are `none` with an empty path: skip them.
OciWhiteout parse_oci_whiteout(std::string_view path);
/// "dir/.wh.name". Throws Errc::unsupported if `name` itself begins with ".wh." (OCI cannot express it).
std::string oci_whiteout_path(std::string_view path);
std::string oci_opaque_path(std::string_view directory);

/// overlayfs: which attribute namespace an upper uses.
enum class OverlayNamespace { trusted, user };
/// "trusted.overlay." or "user.overlay."
std::string_view overlay_prefix(OverlayNamespace space);
/// True for both namespaces' names, escaped or not: these never enter a layer.
bool is_overlay_xattr(std::string_view name);
/// An entry of an upper that hides a lower name: character device 0:0.
bool is_overlay_whiteout(const struct stat& st);

}  // namespace surcoat
