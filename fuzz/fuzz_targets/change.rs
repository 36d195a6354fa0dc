#![no_main]

bukti_fuzz::target!(bukti_hostile::body::change);
