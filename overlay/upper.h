#pragma once
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "layers/entry.h"
#include "overlay/union_view.h"

namespace surcoat::overlay {

/// What every backend does with an upper, so that a container can move between them.

/// A new upper (its work directory is still empty: no backend has opened it) gets the attributes of the root
/// below it (`image_root`, any descriptor of it, or the nearest frozen upper): overlayfs shows the upper's own
/// root directory as "/". Owners that this user namespace cannot express stay ours. mount_overlay and the
/// library view call it themselves.
void prepare_upper(const UpperLayer& upper, const LowerStack& lowers, int image_root);
/// The same with the attributes as a value.
void prepare_upper(const UpperLayer& upper, const Inode& root);

/// The values of a stat and what goes with it; the link target and the attributes are read through
/// (`directory`, `name`), overlayfs' own attributes left out. Owner as on disk. Nothing for a socket, which
/// is no part of any view.
std::optional<Inode> inode_at(int directory, const std::string& name);
std::optional<Inode> inode_from(const struct stat& st);
/// Nothing for a socket.
std::optional<FileType> file_type(mode_t mode);

/// Gives a file all attributes of `inode` (owner, mode, extended attributes, mtime; nothing of its content),
/// in the order that keeps setuid bits and capabilities. An owner that cannot be expressed here stays ours.
void apply_attributes(int directory, const std::string& name, const Inode& inode);

}  // namespace surcoat::overlay
