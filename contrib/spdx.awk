# Turns the output of `go version -m BINARY...` into an SPDX 2.3 document: the program, and each module that its binaries were linked from.
# Variables: version; created, the time as RFC 3339.
function quote(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
function id(text) { gsub(/[^A-Za-z0-9.-]/, "-", text); return "SPDXRef-" text }
BEGIN { n = 0 }
$1 == "dep" && !seen[$2]++ { path[n] = $2; release[n] = $3; n++ }
$1 == "build" && index($2, "GOVERSION=") == 1 { go = substr($2, 11) }
NR == 1 { go = $NF }
END {
	print "{"
	print "  \"spdxVersion\": \"SPDX-2.3\", \"dataLicense\": \"CC0-1.0\", \"SPDXID\": \"SPDXRef-DOCUMENT\","
	print "  \"name\": " quote("cooper " version) ", \"documentNamespace\": " quote("https://github.com/cooperbuild/cooper/releases/" version) ","
	print "  \"creationInfo\": {\"created\": " quote(created) ", \"creators\": [\"Organization: cooper\"]},"
	print "  \"packages\": ["
	printf "    {\"SPDXID\": \"SPDXRef-cooper\", \"name\": \"cooper\", \"versionInfo\": %s, \"downloadLocation\": \"NOASSERTION\", \"licenseConcluded\": \"Apache-2.0\"},\n", quote(version)
	printf "    {\"SPDXID\": \"SPDXRef-go\", \"name\": \"go\", \"versionInfo\": %s, \"downloadLocation\": \"NOASSERTION\"}", quote(go)
	for (i = 0; i < n; i++)
		printf ",\n    {\"SPDXID\": %s, \"name\": %s, \"versionInfo\": %s, \"downloadLocation\": \"NOASSERTION\", \"externalRefs\": [{\"referenceCategory\": \"PACKAGE-MANAGER\", \"referenceType\": \"purl\", \"referenceLocator\": %s}]}", \
			quote(id(path[i])), quote(path[i]), quote(release[i]), quote("pkg:golang/" path[i] "@" release[i])
	print "\n  ],"
	print "  \"relationships\": ["
	print "    {\"spdxElementId\": \"SPDXRef-DOCUMENT\", \"relationshipType\": \"DESCRIBES\", \"relatedSpdxElement\": \"SPDXRef-cooper\"},"
	printf "    {\"spdxElementId\": \"SPDXRef-cooper\", \"relationshipType\": \"DEPENDS_ON\", \"relatedSpdxElement\": \"SPDXRef-go\"}"
	for (i = 0; i < n; i++)
		printf ",\n    {\"spdxElementId\": \"SPDXRef-cooper\", \"relationshipType\": \"DEPENDS_ON\", \"relatedSpdxElement\": %s}", quote(id(path[i]))
	print "\n  ]\n}"
}
