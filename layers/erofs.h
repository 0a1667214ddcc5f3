#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "layers/base/bytes.h"
#include "layers/tree.h"

namespace surcoat {

/// Our EROFS metadata images: directories, symlinks, devices and attributes in full; each regular file as a
/// size and two overlayfs attributes ("metacopy", and "redirect" to "/ab/<62 hex>") that name its object in
/// the data-only lower. Format: Linux, fs/erofs/erofs_fs.h, Documentation/filesystems/erofs.rst.

/// Version of the writer: part of every view's key, raised when the bytes it writes change.
inline constexpr unsigned kErofsWriterVersion = 1;

/// The path of an object beneath the objects directory, as the redirect says it: "/ab/<62 hex>".
std::string object_redirect(const ObjectId& id);

/// Writes the whole image; deterministic. Extended attributes that no Linux file system could show (other
/// than user.*, trusted.*, security.* and POSIX ACLs) are left out. Throws Errc::invalid, naming the path,
/// for what validate_entry would refuse, and for attributes of more than 256 KiB together on one file. `uuid`
/// goes into the superblock (derived from the view's key, so that overlayfs' index finds its origins again
/// after the image was rebuilt).
void write_erofs(ByteSink& sink, const Tree& tree, const std::array<std::byte, 16>& uuid);

/// The inode numbers that a mount of write_erofs(tree) shows, for every inode that is not a directory. Lets
/// overlayfs' "origin" handles, which hold them, be understood without a mount.
std::unordered_map<std::uint64_t, std::shared_ptr<const Inode>> erofs_inode_numbers(const Tree& tree);

/// Reads an image made by write_erofs back (hostile input is refused with Errc::corrupt).
Tree read_erofs(ByteSpan image, const std::string& what);

}  // namespace surcoat
