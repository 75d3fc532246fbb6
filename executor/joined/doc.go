// Package joined opens user namespaces that other programs have made, for steps that join them, and reads their maps.
package joined
