#pragma once
#include <optional>
#include <string>
#include <vector>

#include "layers/import/rootfs_source.h"
#include "layers/store/transaction.h"

namespace surcoat {

/// One name of a host slice.
struct HostFile {
    Entry entry;          ///< kind add; a regular file's object is not set
    std::string source;   ///< regular files of the host: the path beneath HostSlice::root, symlinks resolved
    std::string content;  ///< regular files without a source
};

/// Programs of a host with all that they need to run: a base image with no download.
struct HostSlice {
    std::string root = "/";
    std::vector<HostFile> files;        ///< in writing order (byte order of paths), the root first
    std::vector<std::string> programs;  ///< image paths of what was asked for, in that order
    std::vector<std::string> warnings;  ///< e.g. a plugin whose library the host lacks
};

struct HostSliceOptions {
    std::string root = "/";  ///< the host, or another root that plays it
    /// Searched after the standard directories; $PATH if not given.
    std::optional<std::string> search_path;
};

/// Collects, without reading contents yet, what these need: a program's name ("sh"; looked up in
/// /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin, then $PATH), a program's absolute path, or
/// the name of an installed Debian package ("coreutils": all its programs). With each come
///  - its shared libraries and dynamic linker (ELF, ld.so(8)), a script's interpreter;
///  - python3: its standard library (without tests, idlelib, turtledemo, caches; no dist-packages) and the
///    libraries of its modules; any other: the data of the Debian package that it belongs to, without
///    documentation, translations and development files;
///  - every symlink on the way, as a symlink;
/// and a minimal root: /etc/{passwd,group,hosts,nsswitch.conf,os-release}, /tmp, /root, /proc, /sys, /dev, …,
/// the C.UTF-8 locale and the UTC zone where the host has them. No certificates, no secrets: data that not
/// everybody may read is left out with a warning.
/// Everything belongs to 0:0; set-id bits that would then mean something else are dropped; directories have
/// mtime 0, so that the same host files give the same layer.
/// Throws Errc::not_found for an unknown name (with the nearest known one) and for a program whose library or
/// interpreter is missing; Errc::corrupt for a damaged program.
HostSlice collect_host_slice(const std::vector<std::string>& programs, const HostSliceOptions& options = {});

/// Stages the slice as one layer. Throws Errc::conflict if a file changed since it was collected.
ImportedFiles import_host_slice(Transaction& transaction, const HostSlice& slice,
                                Progress* progress = nullptr);

}  // namespace surcoat
