// Package progress carries one stream of build events to whichever view of it the user asked for.
//
// A build emits [Event] values into a [Sink]. Package show makes the sinks that show them; the others stand before a
// sink: [Part] for a build within a build, [NewSplit] for the platforms of one, [Discard] for nobody. [Asides], [Meter]
// and [Writer] emit events for those who do the work.
package progress
