"""The wing towards the miner: what is asked, how it goes over the wire, and what a reply is."""
